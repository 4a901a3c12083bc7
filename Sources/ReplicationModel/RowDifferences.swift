/// Which rows of a table differ, named by their keys as the server writes them: `(id)=(12345)`.
///
/// For a table without a key the whole row's text, cut at 200 characters, stands for its key; a row that differs in one
/// byte is then missing and extra at once.
public struct RowDifferences: Sendable, Codable, Equatable {
  /// How many are named at most, of all kinds together.
  public static let most = 20

  /// Only on the side that is read from (the source, in a cutover).
  public var missing: [String] = []
  /// Only on the side that was written to.
  public var extra: [String] = []
  /// On both, with another content.
  public var different: [String] = []
  /// Whether there are no others.
  public var isComplete = true

  public init() {}

  public var count: Int { missing.count + extra.count + different.count }

  public enum Kind: Sendable { case missing, extra, different }

  /// Names one more, if there is room.
  public mutating func add(_ kind: Kind, _ key: String) {
    guard count < Self.most else {
      isComplete = false
      return
    }
    switch kind {
    case .missing: missing.append(key)
    case .extra: extra.append(key)
    case .different: different.append(key)
    }
  }

  enum CodingKeys: String, CodingKey {
    case missing, extra, different
    case isComplete = "complete"
  }

  /// `missing (id)=(1); extra (id)=(3), (id)=(4); different (id)=(2); there are more`
  ///
  /// - Parameter most: how many of each kind are written out.
  public func description(most: Int = Self.most) -> String {
    var parts: [String] = []
    for (word, keys) in [("missing", missing), ("extra", extra), ("different", different)] where !keys.isEmpty {
      let rest = keys.count > most ? " and \(keys.count - most) more" : ""
      parts.append("\(word) \(keys.prefix(most).joined(separator: ", "))\(rest)")
    }
    if !isComplete { parts.append("there are more") }
    return parts.joined(separator: "; ")
  }
}
