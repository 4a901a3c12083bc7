import ReplicationModel

/// `ddl: freeze`: while a migration lasts, the source refuses DDL in its databases, with words that say why.
///
/// Temporary tables, comments, REINDEX and REFRESH MATERIALIZED VIEW go on.
enum DDLFreeze {
  /// - Parameters:
  ///   - name: of the schema that holds the function, and the prefix of the triggers.
  ///   - role: whose sessions may go on, ours.
  static func statements(_ name: String, role: String) -> [String] {
    let (schema, start, end, drop) = (
      quotedIdentifier(name), quotedIdentifier(name + "_start"), quotedIdentifier(name + "_end"),
      quotedIdentifier(name + "_drop")
    )
    return [
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
}
