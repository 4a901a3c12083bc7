public import ReplicationModel

/// What an applier has done since it was made.
public struct ApplyCounters: Sendable, Equatable {
  public var transactions: UInt64 = 0
  /// Row changes, and one for each TRUNCATE.
  public var changes: UInt64 = 0
  /// Updates and deletes that found no row, and inserts that stored none.
  public var missedRows: UInt64 = 0
  /// Rows of materialized views, which are rebuilt and not applied.
  public var skippedRows: UInt64 = 0
  /// Changes of relations that neither server has any more, in the transactions that are past: they are left out.
  public var goneRows: [RelationName: UInt64] = [:]

  public init() {}
}

/// How many changes go into one target transaction.
///
/// A target that waits gets what there is; one that is busy gets the more at once, netted further, the longer it is.
public struct BatchLimits: Sendable {
  public var changes: Int
  /// Bytes that the changes of one batch take here, with the records that they stand in.
  public var bytes: Int
  /// The same where changes have more than a kilobyte each: little of them is netted, and what does not fit into the
  /// processor's caches costs the target more.
  public var wideBytes: Int
  /// Changes that are worth a batch while the target has nothing to do.
  public var least: Int
  /// Bytes that are.
  public var leastBytes: Int

  public init(
    changes: Int = 100_000, bytes: Int = 12 << 20, wideBytes: Int = 3 << 20, least: Int = 5_000,
    leastBytes: Int = 1 << 20
  ) {
    self.changes = changes
    self.bytes = bytes
    self.wideBytes = wideBytes
    self.least = least
    self.leastBytes = leastBytes
  }

  /// Each transaction is a group.
  public static let oneTransaction = BatchLimits(changes: 1)

  /// Whether so much is enough for a batch, however busy the target is.
  @inline(__always)
  func areReached(changes count: Int, bytes size: Int) -> Bool {
    count >= changes || size >= bytes || size >= wideBytes && size >> 10 > count
  }

  /// Whether so much is worth a batch.
  @inline(__always)
  func areWorthwhile(changes count: Int, bytes size: Int) -> Bool { count >= least || size >= leastBytes }
}
