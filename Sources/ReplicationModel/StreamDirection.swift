/// Which way the changes of a migration travel, and with them the cutover that ends it.
public enum StreamDirection: String, Sendable, Codable, CaseIterable {
  /// From the source to the target: after the hand-off, until the cutover; and again after a rollback.
  case forward
  /// From the target back to the old source: after the cutover, until the rollback.
  case reverse

  public var opposite: StreamDirection { self == .forward ? .reverse : .forward }
}
