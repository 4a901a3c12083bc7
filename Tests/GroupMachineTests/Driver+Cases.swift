import ReplicationModel

@testable import ChangeApply

/// What the tables of decisions begin with.
extension Driver {
  static func make(
    backlog: Bool, strictUntil: LSN = .invalid,
    limits: BatchLimits = BatchLimits(changes: 100, bytes: 1 << 20, least: 100)
  ) -> Driver {
    var driver = Driver(start: LSN(0x10), strictUntil: strictUntil, limits: limits)
    driver.machine.hasBacklog = backlog
    return driver
  }

  /// A group of as many changes as are enough.
  mutating func full(_ numbers: ClosedRange<Int>, fits: Bool = true, marker: Bool = false) throws {
    for number in numbers {
      try transaction(number, 100, at: LSN(UInt64(number) * 0x1000), fits: fits, marker: marker)
    }
  }

  /// A change that cannot wait in a batch.
  mutating func send(by lsn: LSN) throws { try change(at: lsn, fits: false) }
}
