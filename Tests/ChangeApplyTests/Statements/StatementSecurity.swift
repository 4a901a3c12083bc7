import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// A role with a schema of its own and no other rights tries to have something done on the target.
@Suite(.cluster) struct StatementSecurity {
  /// A test, the role, and what a superuser could do and the role cannot: a role of this name would be the proof.
  private func begin() throws -> (StatementPair, role: String, prize: String) {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    return (test, try test.role(), "prize_" + HandOffNames.random().nonce)
  }

  /// `%` stands for the role, which is its schema's name as well; `%%` for a percent sign.
  private func named(_ text: String, _ role: String) -> String {
    text.replacing("%%", with: "\u{1}").replacing("%", with: role).replacing("\u{1}", with: "%")
  }

  private func expectNo(_ prize: String, _ test: StatementPair, sourceLocation: SourceLocation = #_sourceLocation)
    throws
  {
    let count = try test.target.query("SELECT count(*) FROM pg_roles WHERE rolname = $1", [prize]).first
    #expect(count == "0", sourceLocation: sourceLocation)
    #expect(try test.value(test.target, "SELECT count(*) FROM t") == "1", sourceLocation: sourceLocation)
  }

  private func expectDenied(
    _ statement: String, _ test: StatementPair, as role: String, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: PostgresError.self, sourceLocation: sourceLocation) {
      try test.run(statement, as: role)
    }
    #expect(error?.sqlState == "42501", "\(statement): \(String(describing: error))", sourceLocation: sourceLocation)
  }

  /// Also where default privileges give everybody everything.
  @Test(arguments: [false, true])
  func nobodyWritesToTheTable(withDefaultPrivileges: Bool) throws {
    let test: StatementPair
    if withDefaultPrivileges {
      let defaults = ["TABLES", "FUNCTIONS", "SCHEMAS"].map { "ALTER DEFAULT PRIVILEGES GRANT ALL ON \($0) TO PUBLIC;" }
      test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);" + defaults.joined())
      try test.run("CREATE SCHEMA open_one", "CREATE TABLE open_one.o ()")
      #expect(
        try test.value(test.source, "SELECT has_table_privilege('pg_monitor', 'open_one.o', 'INSERT')") == "t",
        "the defaults are what they should be")
    } else {
      test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    }
    let role = try test.role()
    for statement in [
      "INSERT INTO \(test.schema).statement (event, tag, command, role, superuser, settings) "
        + "VALUES ('ddl_command_end', 'DROP TABLE', 'DROP TABLE t', 'postgres', true, '{}')",
      "SELECT * FROM \(test.schema).statement", "SELECT \(test.schema).outcome('{}', '{}', '{}')",
      "CREATE TABLE \(test.schema).mine ()", "INSERT INTO \(test.schema).rewritten VALUES ('1', 1)",
    ] {
      expectDenied(statement, test, as: role)
    }
    // Not even with the schema open.
    try test.source.script("SET session_replication_role = replica; GRANT USAGE ON SCHEMA \(test.schema) TO \(role)")
    for statement in [
      "DELETE FROM \(test.schema).statement", "SELECT \(test.schema).outcome('{}', '{}', '{}')",
      "CREATE TABLE \(role).x (); CREATE TRIGGER x BEFORE INSERT ON \(role).x EXECUTE FUNCTION \(test.schema).record()",
    ] {
      let error = #expect(throws: PostgresError.self) { try test.run(statement, as: role) }
      #expect(error?.sqlState == "42501" || error?.sqlState?.rawValue == "42P17", "\(String(describing: error))")
    }
    // Only the server calls the trigger's function, whoever asks.
    let error = #expect(throws: PostgresError.self) { try test.run("SELECT \(test.schema).record()") }
    #expect(error?.sqlState == "0A000", "\(String(describing: error))")
  }

  @Test func messagesAreNotListenedTo() throws {
    let (test, role, prize) = try begin()
    for prefix in ["pgconvoy.ddl", "pgconvoy.statement", test.schema, "ddl"] {
      try test.run("SELECT pg_logical_emit_message(true, '\(prefix)', 'CREATE ROLE \(prize)')", as: role)
    }
    try test.apply()
    try expectNo(prize, test)
  }

  /// A table that looks like ours is a table.
  @Test func lookAlikesAreTables() throws {
    let (test, role, prize) = try begin()
    let schema = HandOffNames.random().statementSchema
    try test.run("GRANT CREATE ON DATABASE \(test.pair.name)_source TO \(role)")
    try test.target.script("GRANT CREATE ON DATABASE \(test.pair.name)_target TO \(role)")
    try test.run(
      "CREATE SCHEMA \(schema)",
      "CREATE TABLE \(schema).statement (event text, tag text, command text, objects text, problem text, role text, "
        + "superuser boolean, settings text, relations text, columns text, rewritten text, outcome text)",
      "INSERT INTO \(schema).statement VALUES ('ddl_command_end', 'CREATE TABLE', 'CREATE ROLE \(prize) SUPERUSER', '', "
        + "NULL, 'postgres', true, '{}')",
      "CREATE SCHEMA \"\(test.schema.uppercased())\"", as: role)
    let error = #expect(throws: PostgresError.self) { try test.run("CREATE SCHEMA \(test.schema)", as: role) }
    #expect(error?.sqlState?.rawValue == "42P06")
    try test.apply()
    try expectNo(prize, test)
    try test.expectSameRows("\(schema).statement", 1)
  }

  /// A function that runs during a statement: on the target as the same role, which it cannot leave.
  @Test(arguments: [
    "RESET ROLE", "SET ROLE postgres", "SET LOCAL ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION postgres", "SELECT set_config(''role'', ''none'', false)",
    "SELECT set_config(''session_authorization'', ''postgres'', true)",
  ])
  func aFunctionCannotLeaveItsRole(_ trick: String) throws {
    let (test, role, prize) = try begin()
    try test.run(
      "CREATE TABLE \(role).own (id int, v text)", "INSERT INTO \(role).own VALUES (1, 'a')",
      """
      CREATE FUNCTION \(role).f(v text) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN
        IF current_database() LIKE '%_target' THEN
          EXECUTE '\(trick)';
          EXECUTE 'CREATE ROLE \(prize) SUPERUSER';
        END IF;
        RETURN v;
      END $$
      """, "ALTER TABLE \(role).own ALTER v TYPE text COLLATE \"C\" USING \(role).f(v)", as: role)
    let failure = try test.failure()
    #expect(failure.isStatement, "\(failure)")
    try expectNo(prize, test)
  }

  /// What a function can leave behind in the session that goes on as a superuser.
  @Test(arguments: [
    "DEALLOCATE ALL; PREPARE pgconvoy_origin(text, text) AS SELECT %.evil(); PREPARE pgconvoy_commit AS SELECT %.evil()",
    "DECLARE c CURSOR WITH HOLD FOR SELECT %.evil()",
    "PERFORM set_config('search_path', '%, pg_catalog', false)",
    "PERFORM set_config('search_path', '%, pg_catalog', true)",
    "CREATE DOMAIN pg_temp.pg_lsn AS text CHECK (%.evil() IS NOT NULL); CREATE DOMAIN pg_temp.timestamptz AS text CHECK (%.evil() IS NOT NULL)",
    "CREATE FUNCTION pg_temp.pgconvoy_outcome(text[], text[], text[]) RETURNS text LANGUAGE sql AS 'SELECT %.evil()::text'",
    "ALTER TABLE %.deferred ENABLE ALWAYS TRIGGER c; INSERT INTO %.deferred VALUES (1)",
    "CREATE OR REPLACE FUNCTION pg_temp.pgconvoy_run(command text, settings jsonb) RETURNS void LANGUAGE sql AS 'SELECT %.evil()'",
  ])
  func aFunctionLeavesNothingBehind(_ trick: String) throws {
    let (test, role, prize) = try begin()
    let text = trick.split(separator: "%", omittingEmptySubsequences: false).joined(separator: role)
    // One part of the trick may be refused, and the others go on.
    let steps = text.split(separator: "; ").map { step in
      step.hasPrefix("PERFORM") ? "\(step);" : "EXECUTE $step$\(step)$step$;"
    }.joined(separator: " ")
    let schema = """
      CREATE FUNCTION \(role).evil() RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog AS $$
      BEGIN
        IF current_database() LIKE '%_target' AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
          EXECUTE 'CREATE ROLE \(prize)';
        END IF;
        RETURN 1;
      END $$
      """
    // Operators are made on both sides by hand: they are not on the list.
    for side in [test.source, test.target] {
      try side.script("SET session_replication_role = replica")
      for type in ["int", "text"] {
        try side.script(
          """
          CREATE FUNCTION \(role).eq(\(type), \(type)) RETURNS bool LANGUAGE plpgsql
            AS 'BEGIN PERFORM \(role).evil(); RETURN true; END';
          CREATE OPERATOR \(role).= (LEFTARG = \(type), RIGHTARG = \(type), FUNCTION = \(role).eq)
          """)
      }
      try side.script("SET session_replication_role = origin")
    }
    try test.run(
      schema, "CREATE TABLE \(role).deferred (id int)",
      """
      CREATE FUNCTION \(role).fire() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM \(role).evil(); RETURN NULL; END $$
      """,
      """
      CREATE CONSTRAINT TRIGGER c AFTER INSERT ON \(role).deferred DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION \(role).fire()
      """,
      "CREATE TABLE \(role).own (id int PRIMARY KEY, v text)", "INSERT INTO \(role).own VALUES (1, 'a')",
      """
      CREATE FUNCTION \(role).f(v text) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN
        IF current_database() LIKE '%_target' THEN
          BEGIN \(steps) EXCEPTION WHEN insufficient_privilege OR duplicate_function THEN NULL; END;
        END IF;
        RETURN v;
      END $$
      """, as: role)
    // Rows behind the statement in its transaction, and in others.
    try test.run(
      "BEGIN", "ALTER TABLE \(role).own ALTER v TYPE text COLLATE \"C\" USING \(role).f(v)",
      "INSERT INTO \(role).own VALUES (2, 'b')", "UPDATE \(role).own SET id = 3 WHERE id = 1", "COMMIT", as: role)
    try test.run("UPDATE \(role).own SET v = 'c'", "CREATE TABLE \(role).other (id int)", as: role)
    do {
      try test.apply()
      try test.expectSameRows("\(role).own", 2)
    } catch let failure as ApplyFailure where failure.isStatement {
      #expect(trick.contains("ENABLE ALWAYS") && failure.description.contains("as a superuser"), "\(failure)")
    }
    try expectNo(prize, test)
  }

  /// Rows are applied by a superuser: no statement of anyone else adds to the functions that they call.
  @Test(arguments: [
    ["CREATE TABLE %.n (v text CHECK (%.evil(v) IS NOT NULL))"],
    ["ALTER TABLE %.own ADD CHECK (%.evil(v) IS NOT NULL)"],
    ["CREATE INDEX ON %.own (%.evil(v))"], ["CREATE INDEX CONCURRENTLY ON %.own (%.evil(v))"],
    ["ALTER TABLE %.own ADD g text GENERATED ALWAYS AS (%.evil(v)) STORED"],
    ["CREATE DOMAIN %.d AS text CHECK (%.evil(VALUE) IS NOT NULL)", "ALTER TABLE %.own ADD d %.d DEFAULT 'd'"],
    ["CREATE TABLE %.p (v text) PARTITION BY RANGE (%.evil(v))"],
    ["CREATE STATISTICS %.s ON (%.evil(v)), id FROM %.own"],
    ["ALTER FUNCTION %.harmless(text) SET search_path = %"],
    ["CREATE OR REPLACE FUNCTION %.harmless(v text) RETURNS text IMMUTABLE LANGUAGE sql RETURN %.evil(v)"],
    // A function that rows called before, with another body.
    [
      """
      CREATE OR REPLACE FUNCTION %.harmless(v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
      BEGIN RETURN %.evil(v); END $$
      """
    ],
  ])
  func rowsCallNoNewFunctionsOfOthers(_ statements: [String]) throws {
    let (test, role, prize) = try begin()
    func filled(_ text: String) -> String { named(text, role) }
    for side in [test.source, test.target] {
      try side.script(
        filled(
          """
          SET session_replication_role = replica;
          CREATE FUNCTION %.harmless(v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN v; END';
          CREATE TABLE %.own (id int PRIMARY KEY, v text CHECK (%.harmless(v) IS NOT NULL));
          ALTER FUNCTION %.harmless OWNER TO %; ALTER TABLE %.own OWNER TO %;
          SET session_replication_role = origin
          """))
    }
    try test.run(
      filled(
        """
        CREATE FUNCTION %.evil(v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
        BEGIN
          IF current_database() LIKE '%%_target' AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            EXECUTE 'CREATE ROLE \(prize)';
          END IF;
          RETURN v;
        END $$
        """),
      filled(
        """
        CREATE FUNCTION %.fire() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM %.evil('x'); RETURN NEW; END $$
        """), filled("CREATE TRIGGER tr BEFORE INSERT ON %.own FOR EACH ROW EXECUTE FUNCTION %.fire()"),
      filled("INSERT INTO %.own VALUES (1, 'a')"), as: role)
    try test.apply()
    for statement in statements { try test.run(filled(statement), as: role) }
    try test.run(filled("INSERT INTO %.own VALUES (2, 'b')"), as: role)
    try test.expectRefusal("as a superuser")
    // Again, as a worker does.
    try test.expectRefusal("as a superuser")
    try expectNo(prize, test)
  }

  /// What a statement's functions would change on the target only, where nobody has told of it.
  @Test(arguments: [
    "ALTER TABLE %.own ENABLE ALWAYS TRIGGER tr", "ALTER TABLE %.own ADD extra text DEFAULT %.evil(''x'')",
    "CREATE OR REPLACE VIEW %.seen AS SELECT %.evil(''x'') AS v", "GRANT ALL ON %.own TO PUBLIC",
    "CREATE CAST (text AS %.pair) WITH FUNCTION %.paired(text) AS IMPLICIT",
  ])
  func statementsRunNoOtherDDL(_ inner: String) throws {
    let (test, role, prize) = try begin()
    func filled(_ text: String) -> String { named(text, role) }
    for catching in [false, true] {
      let name = catching ? "caught" : "open"
      let body = "EXECUTE '\(inner)';"
      try test.run(
        filled("CREATE TYPE %.pair_\(name) AS (a text)"), filled("CREATE TABLE IF NOT EXISTS %.own (id int, v text)"),
        filled(
          """
          CREATE FUNCTION %.\(name)(v text) RETURNS text LANGUAGE plpgsql AS $$
          BEGIN
            IF current_database() LIKE '%%_target' THEN
              \(catching ? "BEGIN \(body) EXCEPTION WHEN OTHERS THEN NULL; END;" : body)
            END IF;
            RETURN v;
          END $$
          """), filled("CREATE TABLE %.n_\(name) (v text)"), filled("INSERT INTO %.n_\(name) VALUES ('a')"), as: role)
      try test.apply()
    }
    let before = try test.value(test.target, "SELECT count(*) FROM pg_depend WHERE refclassid <> 'pg_class'::regclass")
    try test.run(filled("ALTER TABLE %.n_caught ALTER v TYPE varchar USING %.caught(v)"), as: role)
    try test.apply()
    #expect(
      try test.value(test.target, "SELECT count(*) FROM pg_depend WHERE refclassid <> 'pg_class'::regclass") == before)
    try test.run(filled("ALTER TABLE %.n_open ALTER v TYPE varchar USING %.open(v)"), as: role)
    let failure = try test.failure()
    #expect(failure.isStatement && failure.description.contains("runs DDL"), "\(failure)")
    #expect(try test.value(test.target, "SELECT count(*) FROM pg_event_trigger WHERE evtname = 'pgconvoy_once'") == "0")
    try expectNo(prize, test)
  }

  /// The source tells what a rewritten table holds: to read it must call nothing of its owner's as a superuser.
  @Test(arguments: [
    "CREATE STATISTICS %.s ON (%.evil(1)), id FROM %.own", "CREATE INDEX ON %.own (id) WHERE %.evil(1) = 1",
  ])
  func theSourceCallsNothingOfTheTables(_ trap: String) throws {
    let (test, role, prize) = try begin()
    func filled(_ text: String) -> String { named(text, role) }
    try test.run(
      filled("CREATE TABLE %.own (id int, n int)"),
      filled(
        """
        CREATE FUNCTION %.evil(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
        BEGIN
          IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            EXECUTE 'CREATE ROLE \(prize)';
          END IF;
          RETURN v;
        END $$
        """), filled(trap), filled("ALTER TABLE %.own ALTER n TYPE bigint"), as: role)
    try expectNo(prize, test)
    let problem = "SELECT problem FROM \(test.schema).statement WHERE rewritten <> '{}'"
    #expect(try test.value(test.source, problem)?.contains("functions of users") == true)
  }

  /// Constants of a domain are checked when a text is analysed: in there no way leads to another role either.
  @Test func analysingAStatementGivesNoRights() throws {
    let (test, role, prize) = try begin()
    func filled(_ text: String) -> String { named(text, role) }
    // As if they had come with the copy.
    for side in [test.source, test.target] {
      try side.script(
        filled(
          """
          SET session_replication_role = replica;
          CREATE TABLE %.own (id int, v text);
          CREATE FUNCTION %.escape(v text) RETURNS boolean LANGUAGE plpgsql AS $$
          BEGIN
            IF current_database() LIKE '%%_target' THEN
              BEGIN
                EXECUTE 'SET SESSION AUTHORIZATION DEFAULT'; EXECUTE 'CREATE ROLE \(prize)';
              EXCEPTION WHEN OTHERS THEN NULL; END;
            END IF;
            RETURN true;
          END $$;
          CREATE DOMAIN %.dom AS text CHECK (%.escape(VALUE));
          ALTER TABLE %.own OWNER TO %; ALTER FUNCTION %.escape OWNER TO %; ALTER DOMAIN %.dom OWNER TO %;
          SET session_replication_role = origin
          """))
    }
    try test.run(filled("CREATE INDEX CONCURRENTLY i ON %.own (id) WHERE v = ANY ('{x}'::%.dom[])"), as: role)
    try test.apply()
    try expectNo(prize, test)
  }

  /// The text is the caller's, whoever owns the function that runs DDL inside of it.
  @Test func aSecurityDefinerLendsNoRights() throws {
    let (test, role, prize) = try begin()
    try test.run(
      "CREATE SCHEMA lent", "GRANT USAGE ON SCHEMA lent TO \(role)",
      """
      CREATE FUNCTION lent.make() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
      BEGIN
        EXECUTE 'ALTER TABLE lent.log ADD COLUMN c' || txid_current() || ' int';
        RETURN 1;
      END $$
      """, "CREATE TABLE lent.log ()")
    try test.run(
      """
      CREATE FUNCTION \(role).f() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN EXECUTE 'CREATE ROLE \(prize)'; END IF;
        RETURN lent.make();
      END $$
      """, "CREATE TABLE \(role).own ()", as: role)
    try test.apply()
    // Its text is an ALTER TABLE, as the tag of the one inside says.
    try test.run("ALTER TABLE \(role).own ADD c int DEFAULT \(role).f()", as: role)
    try test.run("INSERT INTO \(role).own VALUES (DEFAULT)", as: role)
    try test.run("ALTER TABLE \(role).own ALTER c TYPE bigint USING \(role).f()", as: role)
    let failure = try test.failure()
    #expect(failure.isStatement && failure.description.contains("inside a function"), "\(failure)")
    try expectNo(prize, test)
    #expect(
      try test.value(
        test.source, "SELECT string_agg(DISTINCT role, ',') FROM \(test.schema).statement WHERE tag = 'ALTER TABLE'")
        == role, "the session's role, not the function's")
  }

  /// Looking into the trigger's context from a function of one's own gives nothing to write with.
  @Test func aFunctionInTheTriggersContextCannotWrite() throws {
    let (test, role, prize) = try begin()
    try test.run(
      """
      CREATE FUNCTION \(role).spy() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM * FROM pg_event_trigger_ddl_commands();
        EXECUTE 'INSERT INTO \(test.schema).statement (event, tag, command, role, superuser, settings)
          VALUES (''ddl_command_end'', ''CREATE TABLE'', ''CREATE ROLE \(prize)'', ''postgres'', true, ''{}'')';
        RETURN 1;
      END $$
      """, "CREATE TABLE \(role).own (id int)", "INSERT INTO \(role).own VALUES (1)", as: role)
    expectDenied("ALTER TABLE \(role).own ALTER id TYPE bigint USING \(role).spy()", test, as: role)
    try test.apply()
    try expectNo(prize, test)
  }

  /// Types, functions and operators of one's own, in front of the server's, while the trigger works.
  @Test(arguments: ["%, pg_catalog", "pg_temp, %, pg_catalog"])
  func theTriggerLooksNothingUpWhereItsCallerSays(_ path: String) throws {
    let (test, role, _) = try begin()
    let session = try test.session(as: role)
    try session.script(
      """
      CREATE TABLE \(role).caught (who text);
      CREATE FUNCTION \(role).catch(text, anyelement) RETURNS anyelement LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO \(role).caught VALUES (session_user || ' as ' || current_user); RETURN $2; END $$;
      GRANT USAGE ON SCHEMA \(role) TO PUBLIC; GRANT INSERT ON \(role).caught TO PUBLIC
      """)
    for (name, arguments, type, last) in [
      ("current_setting", "text", "text", "'none'::text"), ("set_config", "text, text, boolean", "text", "''::text"),
      ("current_schema", "", "name", "''::name"), ("strpos", "text, text", "int", "0"),
      ("chr", "int", "text", "''::text"),
      ("concat_ws", "text, text, text", "text", "''::text"), ("current_query", "", "text", "'DROP TABLE t'::text"),
      ("starts_with", "text, text", "boolean", "false"), ("pg_my_temp_schema", "", "oid", "0::oid"),
      ("format", "text, name", "text", "''::text"), ("age", "xid", "int", "0"), ("lower", "text", "text", "''::text"),
    ] {
      try session.script(
        "CREATE FUNCTION \(role).\(name)(\(arguments)) RETURNS \(type) LANGUAGE sql AS "
          + "$$SELECT \(role).catch('\(name)', \(last))$$")
    }
    for (type, operation) in [("text", "="), ("text", ">"), ("name", "="), ("int", ">"), ("oid", "="), ("text", "||")] {
      let name = "op_\(HandOffNames.random().nonce)"
      let result = operation == "||" ? "text" : "boolean"
      try session.script(
        """
        CREATE FUNCTION \(role).\(name)(\(type), \(type)) RETURNS \(result) LANGUAGE sql
          AS $$SELECT \(role).catch('\(operation)', \(result == "text" ? "'x'::text" : "true"))$$;
        CREATE OPERATOR \(role).\(operation) (LEFTARG = \(type), RIGHTARG = \(type), FUNCTION = \(role).\(name))
        """)
    }
    for name in ["text", "oid", "record", "pg_class", "pg_roles", "pg_settings", "pg_event_trigger_ddl_commands"] {
      try session.script("CREATE TEMP TABLE \(name) (a int); CREATE TABLE \(role).\(name) (a int)")
    }
    session.close()
    // A session whose first statement it is: what a function compiles, it compiles now.
    let fresh = try test.session(as: role)
    let full = path.split(separator: "%", omittingEmptySubsequences: false).joined(separator: role)
    try fresh.script("CREATE TEMP TABLE record (a int)")
    fresh.close()
    let hijacked = try test.session(as: role)
    try hijacked.script("SELECT pg_catalog.set_config('search_path', '\(full)', false)")
    try hijacked.script("CREATE TABLE \(role).made (id pg_catalog.int4)")
    hijacked.close()
    let caught = try test.source.query(
      "SELECT DISTINCT who FROM \(role).caught WHERE who NOT LIKE '% as ' || $1", [role])
    #expect(caught.rowCount == 0, "\(caught.rows.map { $0.string(0) })")
    #expect(
      try test.source.query("SELECT command FROM \(test.schema).statement WHERE command LIKE 'CREATE TABLE%made%'")
        .rowCount
        == 1)
  }

  @Test(arguments: ["CREATE TABLE %.a (); RESET ROLE; DROP TABLE t", "CREATE TABLE %.a (); SET ROLE postgres"])
  func severalStatementsAreParked(_ text: String) throws {
    let (test, role, prize) = try begin()
    let text = text.split(separator: "%", omittingEmptySubsequences: false).joined(separator: role)
    // What it may not do undoes the rest: so it goes on behind a block that is committed.
    let session = try test.session(as: role)
    _ = try? session.script("BEGIN; \(text.split(separator: ";")[0]); COMMIT; \(text)")
    session.close()
    try test.expectRefusal("not the only statement")
    try expectNo(prize, test)
    #expect(try test.value(test.target, "SELECT to_regclass('\(role).a') IS NULL") == "t")
  }

  /// On the source a role that may, on the target one that may not; and the other way round.
  @Test func theTargetsRightsCount() throws {
    let (test, role, _) = try begin()
    try test.run("GRANT CREATE ON SCHEMA public TO \(role)")
    try test.apply()
    try test.target.script("REVOKE CREATE ON SCHEMA public FROM \(role)")
    try test.run("CREATE TABLE public.mine ()", as: role)
    try test.expectRefusal("permission denied for schema public")
  }

  @Test func aRoleThatIsASuperuserOnTheTargetOnlyIsRefused() throws {
    let (test, role, _) = try begin()
    try test.run("CREATE TABLE \(role).own ()", as: role)
    // One cluster has both databases here: the role becomes a superuser behind its statement.
    try test.run("ALTER ROLE \(role) SUPERUSER")
    try test.expectRefusal("is a superuser on the target only")
  }

  @Test func theRoleIsThatOfSetRole() throws {
    let (test, role, _) = try begin()
    try test.run(
      "SET ROLE \(role)", "CREATE TABLE \(role).own (id int)", "RESET ROLE", "CREATE TABLE \(role).by_postgres ()")
    try test.run("SET SESSION AUTHORIZATION \(role)", "CREATE TABLE \(role).also (id int)")
    try test.apply()
    try test.expectSameSchemas()
  }
}
