import Inventory

/// `${name}` in the values of a play's variables and of its steps' parameters; `$${` stands for `${` itself.
struct Variables {
  private(set) var values: [String: String] = [:]
  /// Variables that could not be read: what uses them is passed over, since one mistake is one error.
  private var broken: Set<String> = []
  private let problems: YAMLProblems

  /// Takes the variables in the order of the file; a later one may use an earlier one. `given` ones are taken as they
  /// are, in the place of the file's.
  init(_ entries: [YAMLEntry], given: [String: String] = [:], problems: YAMLProblems) {
    self.problems = problems
    for entry in entries {
      if let value = given[entry.key] {
        values[entry.key] = value
      } else if let value = expand(entry.value) {
        values[entry.key] = value.text ?? ""
      } else {
        broken.insert(entry.key)
      }
    }
  }

  static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return text.unicodeScalars.allSatisfy { $0.isASCII && ($0.properties.isAlphabetic || $0 == "_" || "0"..."9" ~= $0) }
  }

  /// The value with its variables filled in, in a list too; nil after an error.
  func expand(_ value: YAMLValue) -> YAMLValue? {
    switch value.content {
    case .scalar(let text, let isPlain):
      guard text.contains("${") else { return value }
      // A filled-in empty text must stay a text.
      return expand(text, at: value.place).map {
        YAMLValue(.scalar(text: $0, isPlain: isPlain && !$0.isEmpty), at: value.place)
      }
    case .sequence(let elements):
      var expanded: [YAMLValue] = []
      for element in elements {
        guard let one = expand(element) else { return nil }
        expanded.append(one)
      }
      return YAMLValue(.sequence(expanded), at: value.place)
    case .mapping:
      return value
    }
  }

  private func expand(_ text: String, at place: SourcePlace) -> String? {
    var result = ""
    var rest = text[...]
    while let dollar = rest.firstIndex(of: "$") {
      result += rest[..<dollar]
      rest = rest[dollar...]
      if rest.hasPrefix("$${") {
        result += "${"
        rest = rest.dropFirst(3)
        continue
      }
      guard rest.hasPrefix("${") else {
        result += "$"
        rest = rest.dropFirst()
        continue
      }
      guard let close = rest.firstIndex(of: "}") else {
        problems.add(
          "bad-variable", "'\(rest)' has no closing brace", at: place, hint: "write ${name}, or $${ for the text ${")
        return nil
      }
      let name = String(rest[rest.index(rest.startIndex, offsetBy: 2)..<close])
      if broken.contains(name) { return nil }
      guard let value = values[name] else {
        problems.add(
          "undefined-variable", "variable '\(name)' is not defined", at: place,
          hint: suggestion(for: name, among: values.keys.sorted(), what: "variables"))
        return nil
      }
      result += value
      rest = rest[rest.index(after: close)...]
    }
    return result + rest
  }
}
