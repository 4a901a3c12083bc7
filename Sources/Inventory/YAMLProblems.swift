public import ReplicationModel

/// Collects what is wrong while a file is read, and reads values as the type that a field declares.
///
/// Every reading function records one error and returns nil when the value is not of its type, so that one pass finds
/// every mistake. Used from one task; it lives no longer than the reading of a file.
public final class YAMLProblems {
  /// The first part of every code: `inventory`, `playbook`.
  public let area: String
  public private(set) var errors: [ConvoyError] = []

  public init(area: String) {
    self.area = area
  }

  /// Records one error; the same error in the same place is recorded once (a shared default is read for each host).
  public func add(_ code: String, _ message: String, at place: SourcePlace, hint: String? = nil) {
    add(ConvoyError(.init(rawValue: "\(area).\(code)"), message, at: place.errorPlace, hint: hint, kind: .usage))
  }

  public func add(_ error: ConvoyError) {
    if !errors.contains(error) { errors.append(error) }
  }

  /// Throws everything that was recorded, in the order of the file.
  public func throwIfAny() throws(InputErrors) {
    let sorted = errors.enumerated().sorted { left, right in
      let (a, b) = (Self.position(left.element), Self.position(right.element))
      return a == b ? left.offset < right.offset : a < b
    }
    if let first = sorted.first { throw InputErrors(first.element, others: sorted.dropFirst().map(\.element)) }
  }

  private static func position(_ error: ConvoyError) -> (Int, Int) {
    if case .file(_, let line, let column) = error.place { (line, column) } else { (0, 0) }
  }

  private func wrongType(_ entry: YAMLEntry, _ expected: String, hint: String? = nil) {
    add("wrong-type", "\(entry.key) must be \(expected), not \(entry.value.summary)", at: entry.value.place, hint: hint)
  }

  /// A scalar's text, whatever it looks like: `0644`, `yes` and `5432` are strings where a string is declared.
  public func string(_ entry: YAMLEntry) -> String? {
    guard let text = entry.value.text, !text.isEmpty else {
      wrongType(entry, "text")
      return nil
    }
    return text
  }

  public func integer(_ entry: YAMLEntry, in range: ClosedRange<Int>) -> Int? {
    guard let text = entry.value.text, let value = Int(text), range.contains(value) else {
      let bound =
        range.upperBound == .max ? "of at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
      wrongType(entry, "a number \(bound)")
      return nil
    }
    return value
  }

  public func boolean(_ entry: YAMLEntry) -> Bool? {
    guard let text = entry.value.text, let value = Quantities.boolean(text) else {
      wrongType(entry, "true or false")
      return nil
    }
    return value
  }

  public func duration(_ entry: YAMLEntry) -> Duration? {
    guard let text = entry.value.text, let value = Quantities.duration(text) else {
      wrongType(entry, "a duration such as 30s, 5m or 2h")
      return nil
    }
    return value
  }

  public func size(_ entry: YAMLEntry) -> UInt64? {
    guard let text = entry.value.text, let value = Quantities.size(text) else {
      wrongType(entry, "a size such as 100kB, 16MB or 1GB")
      return nil
    }
    return value
  }

  /// One of a set of words.
  public func word(_ entry: YAMLEntry, of words: [String]) -> String? {
    guard let text = entry.value.text, words.contains(text) else {
      let hint = entry.value.text.map { suggestion(for: $0, among: words, what: "values") }
      wrongType(entry, words.joined(separator: " or "), hint: hint?.hasPrefix("did you mean") == true ? hint : nil)
      return nil
    }
    return text
  }

  /// One of an enumeration's words.
  public func choice<Choice>(_ entry: YAMLEntry, _: Choice.Type = Choice.self) -> Choice?
  where Choice: CaseIterable & RawRepresentable<String> {
    word(entry, of: Choice.allCases.map(\.rawValue)).flatMap(Choice.init(rawValue:))
  }

  /// A list of scalars, each as an entry of its own that keeps the list's key.
  public func list(_ entry: YAMLEntry) -> [YAMLEntry]? {
    guard case .sequence(let elements) = entry.value.content else {
      wrongType(entry, "a list")
      return nil
    }
    return elements.map { YAMLEntry(key: entry.key, place: $0.place, value: $0) }
  }

  /// A list of texts.
  public func strings(_ entry: YAMLEntry) -> [String]? {
    guard let elements = list(entry) else { return nil }
    var texts: [String] = []
    for element in elements {
      guard let text = element.value.text, !text.isEmpty else {
        add(
          "wrong-type", "\(entry.key) must be a list of texts, not of \(element.value.summary)",
          at: element.value.place)
        return nil
      }
      texts.append(text)
    }
    return texts
  }

  /// A mapping's entries, whatever their keys; an empty value is an empty mapping.
  public func entries(_ entry: YAMLEntry) -> [YAMLEntry]? {
    if entry.value.isNull { return [] }
    guard case .mapping(let entries) = entry.value.content else {
      wrongType(entry, "a mapping")
      return nil
    }
    return entries
  }

  /// A mapping with a fixed set of keys. `subject` names it in messages: `host chef-old`.
  public func fields(_ entry: YAMLEntry, of subject: String, keys: [String]) -> YAMLFields? {
    guard let entries = entries(entry) else { return nil }
    return fields(entries, of: subject, keys: keys, at: entry.place)
  }

  /// The same for a mapping that has no key of its own: a file's root, an element of a list.
  public func fields(_ value: YAMLValue, of subject: String, keys: [String]) -> YAMLFields? {
    guard case .mapping(let entries) = value.content else {
      add("wrong-type", "\(subject) must be a mapping, not \(value.summary)", at: value.place)
      return nil
    }
    return fields(entries, of: subject, keys: keys, at: value.place)
  }

  private func fields(_ entries: [YAMLEntry], of subject: String, keys: [String], at place: SourcePlace) -> YAMLFields {
    for entry in entries where !keys.contains(entry.key) {
      add(
        "unknown-key", "unknown key '\(entry.key)' in \(subject)", at: entry.place,
        hint: suggestion(for: entry.key, among: keys, what: "keys"))
    }
    return YAMLFields(subject: subject, place: place, entries: entries.filter { keys.contains($0.key) })
  }
}

/// A mapping whose keys have been checked.
public struct YAMLFields: Sendable {
  /// What the mapping describes, for messages.
  public let subject: String
  /// Where the mapping's own key stands, else its first key.
  public let place: SourcePlace
  public let entries: [YAMLEntry]

  public subscript(key: String) -> YAMLEntry? { entries.first { $0.key == key } }

  /// The entry, or an error that it is missing.
  public func required(_ key: String, _ problems: YAMLProblems) -> YAMLEntry? {
    if let entry = self[key] { return entry }
    problems.add("missing-key", "\(subject) has no '\(key)'", at: place, hint: "add '\(key)'")
    return nil
  }
}
