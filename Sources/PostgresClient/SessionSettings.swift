public import BlockingIO
import Glibc

/// What every session of ours begins with, walsenders' too, whatever the server, the database or the role has set: the
/// list that all others build on. What a session wants otherwise stands in its own `ConnectionParameters.settings`.
///
/// They travel in the start-up packet, and so win over `ALTER DATABASE` and `ALTER ROLE … SET`. All of them are settings
/// that any role may set, and that every supported server knows; `versionedTimeLimits` are those of newer ones.
let pinnedSettings: [String: String] = [
  // Ours, whatever `ALTER DATABASE … SET role` says.
  "role": "none",
  "client_encoding": "UTF8",
  // Nobody but us knows how long our work may take.
  "statement_timeout": "0",
  "lock_timeout": "0",
  "idle_in_transaction_session_timeout": "0",
  "default_transaction_isolation": "read committed",
  "default_transaction_read_only": "off",
  "default_transaction_deferrable": "off",
  // An error instead of rows that are left out.
  "row_security": "off",
  "exit_on_error": "off",
  "standard_conforming_strings": "on",
  "transform_null_equals": "off",
  "array_nulls": "on",
  "client_min_messages": "warning",
]

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

/// Lifts the limits that newer servers may put on the time of a session or a transaction. Every connection begins with
/// them; `RESET ALL` takes them back.
public let versionedTimeLimits = [
  VersionedSetting("idle_session_timeout", "0", since: 140000),
  VersionedSetting("transaction_timeout", "0", since: 170000),
]

extension PostgresConnection {
  /// Sets those of the settings that the server knows, for the session, in one round trip. A walsender takes them too.
  public func set(_ settings: [VersionedSetting], until deadline: Deadline = .never) throws(PostgresError) {
    let known = settings.filter { serverVersion >= $0.since }
    guard !known.isEmpty else { return }
    try script(known.map { "SET \($0.name) = '\($0.value)'" }.joined(separator: "; "), until: deadline)
  }
}

/// libpq's variables that would have the last word about where a connection leads, or about its settings: `PGTZ` comes
/// behind `options` in the start-up packet, and an address in `PGHOSTADDR` goes before the inventory's name.
///
/// Those that say how a server proves who it is, and where passwords and certificates lie, are the operator's to set.
public let overrulingVariables = [
  "PGHOSTADDR", "PGSERVICE", "PGOPTIONS", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGCLIENTENCODING", "PGTARGETSESSIONATTRS",
  "PGLOADBALANCEHOSTS",
]

/// Takes those variables out of this process's environment, and so of that of the programs that it starts. Best called
/// while there is one thread yet; every connection does so too.
public func forgetOverrulingVariables() {
  for name in overrulingVariables where getenv(name) != nil { unsetenv(name) }
}
