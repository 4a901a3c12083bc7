package import PostgresClient

/// The target's half of `ddl: replicate`: runs a statement with the rights of the role that ran it on the source.
///
/// The text is not run by the superuser who applies rows, nor after a SET ROLE of hers, which a function that the statement
/// calls could take back. It runs inside a SECURITY DEFINER function that belongs to the role: there the server refuses
/// to change the role, however deep. Deferred triggers are fired in there too. An event trigger that fires always sees
/// to it that the statement is the only DDL: on the source its functions' own would have been noticed, here they
/// would change tables behind what the source has told.
///
/// A statement may call its owner's functions, and those may leave things behind in the session: settings, prepared
/// statements, temporary objects, cursors that would be carried on at the COMMIT. So all that is thrown away (`cleaning`)
/// before the superuser goes on.
package struct StatementRunner {
  package var statement: RecordedStatement

  package init(statement: RecordedStatement) { self.statement = statement }

  // MARK: in the transaction of its rows

  /// Runs the text, in the transaction that is open. The session must be cleaned afterwards.
  package func run(_ command: [UInt8], _ connection: PostgresConnection) throws(PostgresError) {
    // What event triggers wrote on the source comes with the stream.
    try connection.withoutEventTriggers { () throws(PostgresError) in
      try connection.script(Self.functions)
      try connection.query(
        "SELECT pg_temp.pgconvoy_carry($1::bytea, $2::bytea, $3::boolean, $4::bytea)",
        [
          hexadecimalBytea(command), hexadecimalBytea(statement.role), statement.isSuperuser ? "true" : "false",
          hexadecimalBytea(statement.settings),
        ])
    }
  }

  /// What takes away everything that a statement's functions can leave in a session, within its transaction.
  package static let cleaning =
    "CLOSE ALL; RESET ALL; DEALLOCATE ALL; UNLISTEN *; DISCARD TEMP; SELECT pg_catalog.pg_advisory_unlock_all()"

  private static let functions = """
    CREATE FUNCTION pg_temp.pgconvoy_run(command text, settings jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    AS $run$
    DECLARE
      setting record;
    BEGIN
      FOR setting IN SELECT key, value FROM pg_catalog.jsonb_each_text(settings) LOOP
        PERFORM pg_catalog.set_config(setting.key, setting.value, true);
      END LOOP;
      EXECUTE command;
      SET CONSTRAINTS ALL IMMEDIATE;
    END
    $run$;
    CREATE TABLE pg_temp.pgconvoy_begun (begun boolean);
    CREATE FUNCTION pg_temp.pgconvoy_once() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp
    AS $once$
    BEGIN
      IF EXISTS (SELECT FROM pg_temp.pgconvoy_begun) THEN
        RAISE insufficient_privilege USING MESSAGE = 'a function that it calls runs DDL (' || tg_tag || ')';
      END IF;
      INSERT INTO pg_temp.pgconvoy_begun VALUES (true);
    END
    $once$;
    CREATE FUNCTION pg_temp.pgconvoy_carry(command bytea, role bytea, superuser boolean, settings bytea)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto
      SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on
    AS $carry$
    DECLARE
      encoding name := getdatabaseencoding();
      owner text := convert_from(role, encoding);
      found_superuser boolean;
    BEGIN
      SELECT rolsuper INTO found_superuser FROM pg_roles WHERE rolname = owner;
      IF found_superuser IS NULL THEN
        RAISE undefined_object USING MESSAGE = format('role %I does not exist on the target', owner);
      ELSIF found_superuser AND NOT superuser THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %I is a superuser on the target only', owner);
      END IF;
      EXECUTE format('ALTER FUNCTION pg_temp.pgconvoy_run(text, jsonb) OWNER TO %I', owner);
      CREATE EVENT TRIGGER pgconvoy_once ON ddl_command_start EXECUTE FUNCTION pg_temp.pgconvoy_once();
      ALTER EVENT TRIGGER pgconvoy_once ENABLE ALWAYS;
      PERFORM pg_temp.pgconvoy_run(convert_from(command, encoding), convert_from(settings, encoding)::jsonb);
      DROP EVENT TRIGGER pgconvoy_once;
    END
    $carry$
    """

  // MARK: what has come of it

  /// Why it has not come to the same as on the source; nil when it has. Writes nothing, leaves nothing behind.
  package func difference(_ connection: PostgresConnection) throws(PostgresError) -> String? {
    guard let outcome = statement.outcome else { return nil }
    func array(_ bytes: [UInt8]?) -> String { hexadecimalBytea(bytes ?? Array("{}".utf8)) }
    try connection.withoutEventTriggers { () throws(PostgresError) in
      try connection.script(StatementOutcome.function("pg_temp.pgconvoy_outcome"))
    }
    let result = try connection.query(
      """
      SELECT here <> there, here, there
        FROM pg_catalog.convert_from($4::bytea, pg_catalog.getdatabaseencoding()) AS there,
             pg_temp.pgconvoy_outcome(
               pg_catalog.convert_from($1::bytea, pg_catalog.getdatabaseencoding())::text[],
               pg_catalog.convert_from($2::bytea, pg_catalog.getdatabaseencoding())::text[],
               pg_catalog.convert_from($3::bytea, pg_catalog.getdatabaseencoding())::text[]) AS here
      """,
      [array(statement.relations), array(statement.columns), array(statement.rewritten), hexadecimalBytea(outcome)])
    try connection.script("DISCARD TEMP")
    guard let row = result.rows.first, row.bool(0) else { return nil }
    func short(_ text: String) -> String { text.count > 300 ? text.prefix(299) + "…" : text }
    return "it came to something else than on the source: \(short(row.string(1))), not \(short(row.string(2)))"
  }

  /// Whether none of the indexes that were dropped is there.
  package func areIndexesGone(_ connection: PostgresConnection) throws(PostgresError) -> Bool {
    guard statement.tag == "DROP INDEX", let relations = statement.relations else { return false }
    return try connection.query(
      """
      SELECT NOT EXISTS (
        SELECT FROM unnest(pg_catalog.convert_from($1::bytea, pg_catalog.getdatabaseencoding())::text[]) AS name
         WHERE pg_catalog.to_regclass(name) IS NOT NULL)
      """, [hexadecimalBytea(relations)]
    ).first == "t"
  }

  // MARK: functions that rows call

  /// What applied rows call, as the superuser who applies them: functions of other roles in constraints, indexes,
  /// generated columns, types and ENABLE ALWAYS triggers. A statement of anyone else must not add to it, by its
  /// text or by what its functions do on the target. What came with the copy is what it was.
  package func calledByRows(_ connection: PostgresConnection) throws(PostgresError) -> [(key: String, words: String)] {
    guard !statement.isSuperuser else { return [] }
    return try connection.query(Self.calls).rows.map { ($0.string(0), $0.string(1)) }
  }

  private static let calls = """
    WITH code AS (
      SELECT p.oid, pg_catalog.md5((pg_catalog.to_jsonb(p) - 'proacl')::text) AS body
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
       WHERE p.oid >= 16384 AND NOT r.rolsuper
    ), uses AS (
      SELECT d.classid, d.objid, code.oid, code.body
        FROM code JOIN pg_catalog.pg_depend d
          ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = code.oid
       UNION
      SELECT d.classid, d.objid, code.oid, code.body
        FROM code JOIN pg_catalog.pg_operator o ON o.oprcode = code.oid
        JOIN pg_catalog.pg_depend d
          ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.refobjid = o.oid
    )
    SELECT key, words FROM (
      SELECT u.classid, u.objid, pg_catalog.concat_ws(' ', u.classid, u.objid, u.oid, u.body, t.tgenabled) AS key,
             pg_catalog.pg_describe_object(u.classid, u.objid, 0) || ' calls ' || u.oid::pg_catalog.regprocedure AS words
        FROM uses u
        LEFT JOIN pg_catalog.pg_trigger t
          ON u.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = u.objid
        LEFT JOIN pg_catalog.pg_attrdef d
          ON u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.oid = u.objid
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
       WHERE u.classid IN ('pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass,
                           'pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass,
                           'pg_catalog.pg_cast'::pg_catalog.regclass)
          OR t.tgenabled IN ('A', 'R') OR a.attgenerated <> ''
       UNION ALL
      SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, 'rule ' || r.oid,
             pg_catalog.pg_describe_object('pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, 0) || ' is enabled'
        FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
        JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
       WHERE r.ev_enabled IN ('A', 'R') AND NOT o.rolsuper) AS called
    """

  /// Words for what is called now and was not before.
  package static func addition(
    to before: [(key: String, words: String)], in now: [(key: String, words: String)]
  ) -> String? {
    let known = Set(before.map(\.key))
    let added = now.filter { !known.contains($0.key) }.map(\.words)
    guard let first = added.first else { return nil }
    return "rows that are applied would run a function of its owner's as a superuser: \(first)"
  }
}
