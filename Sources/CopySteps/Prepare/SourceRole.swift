import HostAdmin
import Inventory
import MigrationCore
import PostgresClient
import RemoteHost
import ReplicationModel

extension FactKey<SourceRole.Change> {
  /// pgconvoy's own role, which was made or given its rights for the migration.
  static var sourceRole: Self { Self("source_role") }
}

/// pgconvoy's own role on the source, where it is missing or lacks rights, and an administrator's way in: psql over the
/// server's socket, as the operating-system user that runs it.
///
/// A role that has its rights and does not get in is left alone: its password is nobody's to change.
struct SourceRole {
  /// What the role could do before, as `ALTER ROLE` takes it; nil: there was none.
  struct Change: Codable, Sendable, Equatable {
    var role: String
    var before: String?

    var backStatement: String {
      let name = quotedIdentifier(role)
      return before.map { "ALTER ROLE \(name) \($0)" } ?? "DROP ROLE IF EXISTS \(name)"
    }
  }

  var change: Change

  /// What is wanted; the password as asterisks.
  var announcement: String { statement(password: "********") }

  var summary: String {
    change.before == nil ? "made role \(change.role)" : "gave role \(change.role) its rights"
  }

  private func statement(password: String) -> String {
    let name = quotedIdentifier(change.role)
    if change.before != nil { return "ALTER ROLE \(name) LOGIN SUPERUSER REPLICATION" }
    return "CREATE ROLE \(name) LOGIN SUPERUSER REPLICATION PASSWORD \(quotedLiteral(password))"
  }

  /// What the role lacks; nil when it can do what it must, or when nobody here can give it that.
  ///
  /// - Throws: the connection's own error when the role is not let in, and it is not the role that is missing.
  static func lacking(_ context: MigrationContext) async throws -> SourceRole? {
    var refusal: ConvoyError?
    do {
      let session = try await context.session(.source)
      let isSuperuser = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
      if try await session.query(isSuperuser).first == "t" { return nil }
    } catch let error as ConvoyError where error.code.rawValue.hasPrefix("postgres.") {
      refusal = error
    }
    let role = context.migration.source.postgres.user
    let rights = """
      SELECT pg_catalog.concat_ws(' ', CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
               CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
               CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END)
        FROM (VALUES (1)) one LEFT JOIN pg_catalog.pg_roles ON rolname = \(quotedLiteral(role))
       WHERE rolname IS NOT NULL
      """
    let answer = try await administer(context, rights, isQuestion: true)
    guard answer.succeeded else {
      if let refusal { throw refusal }
      return nil
    }
    let before = trimmed(answer.text)
    if before.hasPrefix("LOGIN SUPERUSER") {
      if let refusal { throw refusal }
      return nil
    }
    return SourceRole(change: Change(role: role, before: before.isEmpty ? nil : before))
  }

  /// Makes it or gives it its rights; recorded first.
  func apply(_ context: MigrationContext) async throws {
    let place = context.place("prepare_source", .source)
    var password = ""
    if change.before == nil {
      guard let known = try await Self.password(context), !known.isEmpty else {
        throw ConvoyError(
          "source.no-password", "the inventory has no password for role \(change.role), which is to be made", at: place,
          hint: "put one into the passfile, or name password_env or password_command")
      }
      password = known
    }
    if try await context.fact(.sourceRole) == nil {
      try await context.setFact(.sourceRole, change)
    }
    context.progress(summary)
    let result = try await Self.administer(
      context, Self.unlogged + statement(password: password) + ";", isQuestion: false)
    guard result.succeeded else {
      throw ConvoyError(
        "source.role-refused", "role \(change.role) could not be made", at: place,
        hint: "make it by hand: \(announcement)", cause: result.errorText)
    }
    await context.closeSessions(.source)
    _ = try await context.session(.source)
  }

  /// Takes back what an earlier run has done to the role; nil: nothing.
  static func takingBack(_ context: MigrationContext) async throws -> (words: String, deed: Deed)? {
    guard let change = try await context.fact(.sourceRole) else { return nil }
    let database = context.migration.source.postgres.maintenanceDatabase
    let deed = Deed.procedure(
      Procedure(kind: .statement(database: database), side: .source, text: change.backStatement) { _ in
        await context.closeSessions(.source)
        let result = try await administer(context, change.backStatement, isQuestion: false)
        guard result.succeeded else {
          throw ConvoyError(
            "source.role-refused", "role \(change.role) is not as it was",
            at: context.place("prepare_source", .source), hint: "by hand: \(change.backStatement)",
            cause: result.errorText)
        }
        try await context.removeFact(.sourceRole)
      })
    return (change.before == nil ? "role \(change.role) dropped" : "role \(change.role) as it was before", deed)
  }

  // MARK: the administrator's way in

  /// The statement has a password in it: no log, no statistics of statements, no audit shall have it.
  private static let unlogged = """
    SELECT pg_catalog.set_config(s.name, v.value, false)
      FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_duration_sample', '-1'),
                   ('log_transaction_sample_rate', '0'), ('log_min_error_statement', 'panic'),
                   ('pg_stat_statements.track', 'none'), ('pgaudit.log', 'none')) v (name, value)
      JOIN pg_catalog.pg_settings s ON s.name = v.name;

    """

  /// As the role that is called like the operating-system user, else as `postgres`; the statements travel by standard
  /// input, which no process list shows.
  private static func administer(
    _ context: MigrationContext, _ statements: String, isQuestion: Bool
  ) async throws -> CommandResult {
    let settings = context.migration.source.postgres
    let psql = settings.binDirectory.map { $0 + "/psql" } ?? "psql"
    var command = RemoteCommand.shell(
      """
      psql=$1; database=$2; port=$3; host=$4
      ask() { "$psql" -X -w -q -A -t -v ON_ERROR_STOP=1 -d "$database" -p "$port" ${host:+-h "$host"} "$@"; }
      if [ "$(ask -c 'SELECT 1' 2>/dev/null)" = 1 ]; then ask -f -; else ask -U postgres -f -; fi
      """, arguments: [psql, settings.maintenanceDatabase, String(settings.port), settings.socketDirectory ?? ""],
      environment: ["PGCONNECT_TIMEOUT": "10", "PGPASSFILE": "/nonexistent"], user: settings.osUser,
      standardInput: Array(statements.utf8), deadline: .seconds(60), label: "psql")
    command.isQuestion = isQuestion
    return try await context.remote(.source).run(command.connecting)
  }

  /// The password that the inventory gives for the role; nil when it gives none.
  private static func password(_ context: MigrationContext) async throws -> String? {
    let parameters = try await context.parameters(.source)
    if let password = parameters.password { return password }
    return try PasswordFile.password(
      for: context.migration.source.postgres, database: parameters.database, context.environment.variables)
  }
}
