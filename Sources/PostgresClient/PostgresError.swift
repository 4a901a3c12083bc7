public import ReplicationModel

/// What libpq or the server said.
public struct PostgresError: Error, Sendable, Equatable {
  public enum Reason: Sendable, Equatable {
    /// No connection could be made: refused, timed out, not authorised.
    case connect
    /// The connection ended in the middle of something.
    case connectionLost
    /// The server refused a statement.
    case server
    /// The deadline passed; the statement was cancelled on the server.
    case deadline
    /// The caller's task was cancelled; so was the statement.
    case cancelled
    /// A reply that the protocol does not allow here.
    case unexpectedReply
  }

  public var reason: Reason
  /// Nil where no server has spoken (a refused TCP connection, say).
  public var sqlState: SQLState?
  /// The primary message, one line, in the server's language: nothing may be decided by it.
  public var message: String
  /// The server's function that refused a connection, which has no language.
  var routine: String?
  /// The server asked for a password, and there was none to send.
  package var wantsPassword = false
  public var detail: String?
  public var hint: String?
  public var context: String?
  public var schema: String?
  public var table: String?
  public var constraint: String?
  /// The domain whose constraint was violated.
  public var dataType: String?
  /// `address:port/database`, never with a password.
  public var server: String

  public init(_ reason: Reason, sqlState: SQLState? = nil, message: String, server: String) {
    self.reason = reason
    self.sqlState = sqlState
    self.message = message
    self.server = server
  }

  /// Whether the server does not answer: nobody listens, it starts or stops, or the connection has ended.
  public var isUnreachable: Bool {
    switch reason {
    case .connectionLost: true
    case .connect: sqlState.map { $0.classCode == "57" } ?? true
    default: sqlState?.classCode == "57" && sqlState != .queryCanceled
    }
  }

  /// Whether trying again with nothing changed may help.
  public var isTransient: Bool {
    switch reason {
    case .connectionLost, .deadline: true
    case .connect: sqlState.map { $0.isTransient } ?? !wantsPassword
    case .server: sqlState?.isTransient ?? false
    case .cancelled, .unexpectedReply: false
    }
  }
}

extension PostgresError: CustomStringConvertible {
  public var description: String {
    var text = message
    if let sqlState { text += " (SQLSTATE \(sqlState))" }
    if let detail { text += "; \(detail)" }
    return text
  }
}

extension PostgresError: ConvoyErrorConvertible {
  /// The error as a person reads it.
  public func convoyError(at place: ConvoyError.Place? = nil) -> ConvoyError {
    let (code, hint) = codeAndHint
    return ConvoyError(code, "\(server): \(description)", at: place, hint: self.hint ?? hint, cause: context)
  }

  /// Of the server's that reads `pg_hba.conf` and refuses by it.
  private var isRefusedByRecords: Bool { sqlState == .invalidAuthorization && routine == "ClientAuthentication" }

  private var codeAndHint: (ConvoyError.Code, String?) {
    switch reason {
    case .connect: return connectCodeAndHint
    case .connectionLost: return ("postgres.connection-lost", "look at the server's log")
    case .server: return ("postgres.refused", nil)
    case .deadline: return ("postgres.deadline", "look in pg_stat_activity and pg_locks for what it waited for")
    case .cancelled: return ("postgres.cancelled", nil)
    case .unexpectedReply: return ("postgres.unexpected-reply", nil)
    }
  }
  private var connectCodeAndHint: (ConvoyError.Code, String?) {
    if sqlState == .invalidPassword {
      return ("postgres.wrong-password", "check the passfile (one line host:port:database:user:password, mode 0600)")
    }
    // A record that rejects and none at all have one SQLSTATE; only English says more.
    if isRefusedByRecords, message.contains("pg_hba.conf rejects") {
      return ("postgres.hba-rejects", "a reject line in pg_hba.conf keeps this user out; is the host fenced?")
    }
    if isRefusedByRecords {
      return (
        "postgres.no-hba-entry",
        "add a line for this user, database and address to pg_hba.conf on that host and reload the server; "
          + "or reach it through SSH (via: ssh)"
      )
    }
    switch sqlState {
    case nil where wantsPassword:
      return ("postgres.no-password", "give the password by passfile, password_command or password_env")
    case SQLState.invalidAuthorization:
      return ("postgres.no-role", "compare the role with \\du on that server: it has to be there, and to have LOGIN")
    case SQLState.invalidCatalogName:
      return ("postgres.unknown-database", "compare the name with \\l on that server")
    case SQLState.tooManyConnections:
      return (
        "postgres.no-connection-left",
        "the server has no connection left: end idle ones, make pools smaller, or raise max_connections (max_wal_senders "
          + "for replication, CONNECTION LIMIT of a role or database)"
      )
    case SQLState.cannotConnectNow:
      return ("postgres.unreachable", "it starts, stops or recovers: try again when it has done so")
    case let state? where !state.isTransient: return ("postgres.refused", nil)
    default: return ("postgres.unreachable", "is the server running, and does it listen on that address and port?")
    }
  }
}
