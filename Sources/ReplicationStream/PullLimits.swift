/// How a deep backlog is read by SQL.
public struct PullLimits: Sendable {
  /// Bytes of WAL between progress and the source's end from which pulling pays.
  public var depth: UInt64
  /// Bytes of WAL that are left to the walsender.
  public var rest: UInt64
  /// Bytes of WAL of the first pull.
  public var first: UInt64
  /// Bytes of WAL that one pull takes at most.
  public var largest: UInt64
  /// Bytes of WAL by which the worker's slot may lag behind what is durable: moving it means reading them once more.
  public var slack: UInt64
  /// Bytes of records that a pull should bring: the source holds them until they are taken.
  public var records: UInt64
  /// Bytes of a record, on average, from which a walsender is as quick: it pays for each record, not for its bytes.
  public var wide: UInt64
  /// How long a session may hold its snapshot on the source without any of its changes being taken.
  public var patience: Duration
  /// Records without which the average says nothing.
  private static let sample: UInt64 = 100

  public init(
    depth: UInt64 = 48 << 20, rest: UInt64 = 8 << 20, first: UInt64 = 6 << 20, largest: UInt64 = 2 << 30,
    slack: UInt64 = 256 << 20, records: UInt64 = 128 << 20, wide: UInt64 = 1 << 10,
    patience: Duration = .seconds(60)
  ) {
    self.patience = patience
    self.slack = slack
    self.wide = wide
    self.depth = depth
    self.rest = rest
    self.first = first
    self.largest = largest
    self.records = records
  }

  /// How much WAL to take after a pull that brought so many bytes of records out of so much WAL.
  ///
  /// Each pull decodes again from where the oldest transaction of its beginning began, or from the last snapshot that
  /// the server logged (every 15 s), so a few large ones cost the source far less than many small ones. A database
  /// with little of its server's WAL goes in larger steps, as the WAL of its neighbours leaves nothing behind.
  func next(after wal: UInt64, records found: UInt64) -> UInt64 {
    let wanted = Double(records) / Double(max(found, 1)) * Double(wal)
    let growth = min(max(wanted, Double(wal)), Double(wal) * 3)
    return min(UInt64(growth), largest)
  }

  /// The same, or all of the WAL that there is where little would be left.
  func next(after wal: UInt64, records found: UInt64, left: UInt64) -> UInt64 {
    let size = next(after: wal, records: found)
    return left <= min(size + size / 4, largest) ? left : size
  }

  /// For a backlog of so many bytes of WAL: no pull takes more than a third of it. Nothing is handed over before it is
  /// decoded, and while the last pull is applied the source has nothing to do.
  func bounded(by backlog: UInt64) -> PullLimits {
    var limits = self
    limits.largest = min(largest, max(first, backlog / 3))
    return limits
  }

  /// Whether a pull's records, of so many bytes in all, are better left to a walsender.
  func areWide(records count: UInt64, bytes: UInt64) -> Bool { count >= Self.sample && bytes / wide >= count }
}
