public import PostgresClient
public import ReplicationModel

/// Why a change could not be applied, with the exact change.
public struct ApplyFailure: Error, Sendable, Equatable {
  public enum Reason: Sendable, Equatable {
    /// The target's server refused it, or went away.
    case postgres(PostgresError)
    /// The target's table is not what the change needs.
    case drift
    /// The target has no such relation, and the source may have it. It may be gone in a moment.
    case absent
    /// An update or delete of a table without replica identity.
    case noIdentity
    /// A set-based statement did not hit just the rows that it was made for: the same changes have to be applied one
    /// at a time.
    case batchMismatch
    /// A statement of `ddl: replicate` that is not carried over.
    case refused
    /// The stream said something outside its grammar or out of order.
    case unreadable
  }

  public var reason: Reason
  public var message: String
  public var relation: RelationName?
  /// `insert`, `update`, `delete`, `truncate`, `commit`.
  public var operation: String?
  /// The record's LSN in the stream.
  public var lsn: LSN?
  /// The source's transaction.
  public var xid: UInt32?
  /// Whether the record is a statement of `ddl: replicate`, which can be left out by itself.
  public var isStatement = false

  public init(_ reason: Reason, _ message: String) {
    self.reason = reason
    self.message = message
  }

  package init(_ error: PostgresError) {
    reason = .postgres(error)
    message = error.description + (Self.remedy(error).map { " - " + $0 } ?? "")
  }

  /// The way out where an expression of the table refuses what the source has accepted.
  private static func remedy(_ error: PostgresError) -> String? {
    switch error.sqlState {
    case "23514":
      guard let constraint = error.constraint else { return nil }
      let name = quotedIdentifier(constraint)
      let kind = error.dataType == nil ? "TABLE" : "DOMAIN"
      let holder = RelationName(schema: error.schema ?? "", name: error.dataType ?? error.table ?? "")
      return "the source has accepted this row, so the constraint goes by more than the row, or by a session's "
        + "settings: ALTER \(kind) \(holder.quoted) DROP CONSTRAINT \(name), on both servers, and the worker goes on by itself; "
        + "ADD … NOT VALID after the cutover"
    case "42883", "42P01", "42704", "3F000":
      // Without a context the statement itself is meant.
      guard error.context != nil else { return nil }
      return "a function looks for it without a schema: ALTER FUNCTION … SET search_path = …, on both servers, and "
        + "the worker goes on by itself"
    default: return nil
    }
  }

  /// Of somebody who was asked for what the stream does not say.
  public init(looking error: PostgresError) {
    self.init(error)
    message = "looking what has become of the table, \(error.server): \(error)"
  }

  /// The failure with what is known of the change, where it does not say so itself.
  package func located(relation: RelationName?, operation: String?, lsn: LSN?, xid: UInt32?) -> ApplyFailure {
    var copy = self
    copy.relation = copy.relation ?? relation
    copy.operation = copy.operation ?? operation
    copy.lsn = copy.lsn ?? lsn
    copy.xid = copy.xid ?? xid
    return copy
  }

  /// Whether the server broke a circle of sessions that wait for each other. Batches would get into the same one again.
  public var isDeadlock: Bool {
    if case .postgres(let error) = reason { return error.sqlState == .deadlockDetected }
    return false
  }

  /// Whether a batch that failed with it is replayed one change at a time: nothing that passes by itself, and a deadlock,
  /// into which batches would get again.
  public var isReplayed: Bool { !isTransient || isDeadlock }

  /// Whether the same stream, read again from the origin's progress, may go through with nothing changed.
  public var isTransient: Bool {
    if case .postgres(let error) = reason { return error.isTransient }
    return false
  }
}

extension ApplyFailure: CustomStringConvertible {
  /// `insert into public.users, xid 743, lsn 0/1A2B3C: duplicate key … (SQLSTATE 23505)`
  public var description: String {
    var parts: [String] = []
    if let operation { parts.append((isStatement ? nil : relation).map { "\(operation) of \($0)" } ?? operation) }
    if let xid { parts.append("xid \(xid)") }
    if let lsn { parts.append("lsn \(lsn)") }
    return parts.isEmpty ? message : parts.joined(separator: ", ") + ": " + message
  }
}
