public import BlockingIO

/// A setting that only newer servers know, so that it cannot be given when connecting.
public struct VersionedSetting: Sendable {
  let name: String
  let value: String
  let since: Int

  /// - Parameter since: the first version that has it, as `serverVersion` counts: 140000.
  public init(_ name: String, _ value: String, since: Int) {
    self.name = name
    self.value = value
    self.since = since
  }
}

/// Lifts the limits that newer servers may put on the time of a session or a transaction.
public let versionedTimeLimits = [
  VersionedSetting("idle_session_timeout", "0", since: 140000),
  VersionedSetting("transaction_timeout", "0", since: 170000),
]

extension PostgresConnection {
  /// Sets those of the settings that the server knows, for the session.
  public func set(_ settings: [VersionedSetting], until deadline: Deadline = .never) throws(PostgresError) {
    for setting in settings where serverVersion >= setting.since {
      try query("SELECT pg_catalog.set_config($1, $2, false)", [setting.name, setting.value], until: deadline)
    }
  }
}
