import ReplicationModel

/// Which rows of a table differ, named by their keys as the server writes them: `(id)=(12345)`.
///
/// For a table without a key the whole row's text, cut at 200 characters, stands for its key; a row that differs in one
/// byte is then missing and extra at once.
public struct RowDifferences: Sendable, Equatable {
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

  enum Kind: Sendable { case missing, extra, different }

  /// Names one more, if there is room.
  mutating func add(_ kind: Kind, _ key: String) {
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

/// One row of one side, or several that are alike.
struct HashedRow: Sendable, Equatable {
  /// The key's text, or the row's.
  var key: String
  var hash: String
  var count: UInt64
}

extension RowDifferences {
  /// - Parameters:
  ///   - isKeyed: whether two rows of one key are two states of one row.
  ///   - isComplete: whether these are all the rows that may differ.
  init(source: [HashedRow], target: [HashedRow], isKeyed: Bool, isComplete: Bool) {
    self.init()
    self.isComplete = isComplete
    // By bytes: Swift holds é in one scalar and in two for the same text, PostgreSQL does not.
    func identity(_ row: HashedRow) -> [UInt8] { Array(row.key.utf8) + (isKeyed ? [] : [0] + Array(row.hash.utf8)) }
    let here = Dictionary(grouping: source, by: identity)
    let there = Dictionary(grouping: target, by: identity)
    for identity in Set(here.keys).union(there.keys).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      let (left, right) = (here[identity] ?? [], there[identity] ?? [])
      guard let row = left.first ?? right.first, Self.content(left) != Self.content(right) else { continue }
      let (leftCount, rightCount) = (left.reduce(0) { $0 + $1.count }, right.reduce(0) { $0 + $1.count })
      let surplus = max(leftCount, rightCount) - min(leftCount, rightCount)
      let name = surplus > 1 ? "\(surplus) × \(row.key)" : row.key
      add(leftCount == rightCount ? .different : leftCount > rightCount ? .missing : .extra, name)
    }
  }

  private static func content(_ rows: [HashedRow]) -> [String: UInt64] {
    rows.reduce(into: [:]) { $0[$1.hash, default: 0] += $1.count }
  }
}
