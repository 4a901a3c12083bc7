/// A YAML value that knows where it stands, before anything is known about its type.
///
/// Scalars keep their text: `0644`, `yes` and `5432` become numbers, words or strings only when a field that is
/// declared as such reads them. Aliases and merge keys (`<<`) are resolved; a value that came through one keeps the
/// place where it was written.
public struct YAMLValue: Sendable, Equatable {
  public indirect enum Content: Sendable, Equatable {
    /// `isPlain`: written without quotes, as a block neither.
    case scalar(text: String, isPlain: Bool)
    case sequence([YAMLValue])
    /// In the order of the file; keys are unique.
    case mapping([YAMLEntry])
  }

  public var content: Content
  public var place: SourcePlace

  public init(_ content: Content, at place: SourcePlace) {
    self.content = content
    self.place = place
  }

  /// Nothing at all: `key:`, `key: ~` or `key: null`.
  public var isNull: Bool {
    guard case .scalar(let text, isPlain: true) = content else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(text)
  }

  /// A scalar's text; nil for null and for everything else.
  public var text: String? {
    guard case .scalar(let text, _) = content, !isNull else { return nil }
    return text
  }

  /// What stands there, for messages: `'text'`, `nothing`, `a list`, `a mapping`.
  public var summary: String {
    switch content {
    case .scalar(let text, _):
      if isNull { return "nothing" }
      let line = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
      return line.count == text.count && line.count <= 60 ? "'\(text)'" : "'\(line.prefix(60))…'"
    case .sequence: return "a list"
    case .mapping: return "a mapping"
    }
  }
}

/// One `key: value` of a mapping.
public struct YAMLEntry: Sendable, Equatable {
  public var key: String
  /// Where the key stands.
  public var place: SourcePlace
  public var value: YAMLValue

  public init(key: String, place: SourcePlace, value: YAMLValue) {
    self.key = key
    self.place = place
    self.value = value
  }
}
