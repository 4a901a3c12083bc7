import ReplicationModel

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
