import Inventory
import Journal
import PostgresClient
import ReplicationModel

/// `ddl: freeze`: while a migration lasts, the source refuses DDL in its databases, with words that say why.
///
/// Three event triggers, made before the slots: a transaction that ran DDL before they were there has ended before the
/// slots are made, and is in the copy. Temporary tables, comments, REINDEX and REFRESH MATERIALIZED VIEW go on. The copy
/// inherits the triggers and loses them when it is promoted.
enum DDLFreeze {
  /// The schema that holds the function, and the prefix of the triggers.
  static func name(_ names: HandOffNames) -> String { "pgconvoy_\(names.nonce)_freeze" }

  /// - Parameter role: whose sessions may go on, ours.
  static func statements(_ name: String, role: String) -> [String] {
    let (schema, start, end, drop) = (
      quotedIdentifier(name), quotedIdentifier(name + "_start"), quotedIdentifier(name + "_end"),
      quotedIdentifier(name + "_drop")
    )
    return removal(name) + [
      "CREATE SCHEMA \(schema)",
      """
      CREATE FUNCTION \(schema).refuse() RETURNS event_trigger LANGUAGE plpgsql SET search_path = '' AS $refuse$
      DECLARE
        what text;
      BEGIN
        IF session_user = \(quotedLiteral(role)) THEN RETURN; END IF;
        IF tg_event = 'ddl_command_start' THEN
          -- What commits in between is half done at its end. It is a statement of its own, always.
          IF pg_catalog.current_query() !~* '\\mconcurrently\\M' THEN RETURN; END IF;
          what := 'what works concurrently';
        ELSIF tg_event = 'sql_drop' THEN
          SELECT pg_catalog.concat_ws(' ', object_type, object_identity) INTO what
            FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE original AND NOT is_temporary LIMIT 1;
        ELSE
          SELECT pg_catalog.concat_ws(' ', object_type, object_identity) INTO what
            FROM pg_catalog.pg_event_trigger_ddl_commands()
           WHERE schema_name IS DISTINCT FROM 'pg_temp'
             AND command_tag NOT IN ('REFRESH MATERIALIZED VIEW', 'COMMENT', 'REINDEX') LIMIT 1;
        END IF;
        IF what IS NOT NULL THEN
          RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = pg_catalog.format('%s is refused: this database is being migrated by pgconvoy', tg_tag),
            DETAIL = pg_catalog.format('It is about %s. DDL is not carried to the new server.', what),
            HINT = 'Wait until the migration is finished.';
        END IF;
      END
      $refuse$
      """,
      "REVOKE ALL ON FUNCTION \(schema).refuse() FROM PUBLIC",
      "CREATE EVENT TRIGGER \(start) ON ddl_command_start WHEN TAG IN ('CREATE INDEX', 'DROP INDEX', 'ALTER TABLE') "
        + "EXECUTE FUNCTION \(schema).refuse()",
      "CREATE EVENT TRIGGER \(end) ON ddl_command_end EXECUTE FUNCTION \(schema).refuse()",
      "CREATE EVENT TRIGGER \(drop) ON sql_drop EXECUTE FUNCTION \(schema).refuse()",
    ]
  }

  static func removal(_ name: String) -> [String] {
    ["_start", "_end", "_drop"].map { "DROP EVENT TRIGGER IF EXISTS \(quotedIdentifier(name + $0))" }
      + ["DROP SCHEMA IF EXISTS \(quotedIdentifier(name)) CASCADE"]
  }

  /// Statements of one transaction, as they are announced and run.
  static func script(_ statements: [String]) -> String {
    "BEGIN; " + statements.joined(separator: ";\n") + "; COMMIT"
  }

  /// Makes the source of a migration refuse DDL, if the inventory wants that.
  static func set(_ context: MigrationContext, _ record: HandOffRecord) async throws {
    guard context.migration.ddl == .freeze else { return }
    for database in record.databases {
      try await run(context, .source, database.name) { session in
        let role = try await session.query("SELECT session_user").first ?? ""
        return statements(name(record.names), role: role)
      }
    }
  }

  /// Takes it away from one side, whatever the inventory says by now.
  static func lift(_ context: MigrationContext, _ side: Side, _ record: HandOffRecord) async throws {
    for database in record.databases {
      try await remove(context, side, name(record.names), in: database.name)
    }
  }

  static func remove(
    _ context: MigrationContext, _ side: Side, _ name: String, in database: String
  ) async throws {
    try await run(context, side, database) { session in
      let schema = try await session.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", [name])
      return schema.rowCount == 0 ? [] : removal(name)
    }
  }

  /// The schemas of freezes in a database.
  static func present(_ session: PostgresSession) async throws -> [String] {
    try await session.query("SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname ~ '^pgconvoy_.*_freeze$'")
      .rows.map { $0.string(0) }
  }

  private static func run(
    _ context: MigrationContext, _ side: Side, _ database: String,
    _ statements: (PostgresSession) async throws -> [String]
  ) async throws {
    do {
      try await context.withNewSession(side, database: database) { session in
        let statements = try await statements(session)
        if !statements.isEmpty { try await session.script(script(statements)) }
      }
    } catch {
      throw (error as? PostgresError)?.convoyError(
        at: .database(migration: context.migrationName, name: database)) ?? error
    }
  }
}
