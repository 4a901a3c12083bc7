import PostgresClient
import Testing

@testable import SyncService

/// DDL of every kind, on the source alone: it is named; and when the target has had it too, nothing differs.
@Suite struct SchemaDriftTests {
  struct Change: Sendable {
    var ddl: String
    /// The line that names it, up to where it says what differs.
    var object: String

    init(_ ddl: String, _ object: String) {
      self.ddl = ddl
      self.object = object
    }
  }

  private static let schema = """
    CREATE ROLE one; CREATE ROLE two;
    CREATE TABLE a (id integer PRIMARY KEY, v text); CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a);
    CREATE INDEX i ON a (v); CREATE SEQUENCE counter; CREATE TYPE pair AS (a integer); CREATE TABLE typed OF pair;
    CREATE FUNCTION add(integer, integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT $1 + $2';
    CREATE FUNCTION make(integer) RETURNS pair LANGUAGE sql AS 'SELECT ROW($1)::public.pair';
    CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE AGGREGATE total(integer) (SFUNC = add, STYPE = integer, INITCOND = '0');
    CREATE DOMAIN code AS integer; CREATE TYPE spans AS RANGE (subtype = integer);
    CREATE TEXT SEARCH CONFIGURATION words (COPY = english);
    CREATE FOREIGN DATA WRAPPER far; CREATE SERVER there FOREIGN DATA WRAPPER far OPTIONS (host 'one');
    CREATE USER MAPPING FOR PUBLIC SERVER there OPTIONS (password 'secret one');
    CREATE FOREIGN TABLE remote (id integer) SERVER there OPTIONS (name 'one');
    """

  static let changes: [Change] = [
    .init("ALTER SEQUENCE counter INCREMENT 10", "sequence public.counter"),
    .init("ALTER SEQUENCE counter MAXVALUE 1000 CYCLE CACHE 20", "sequence public.counter"),
    .init("ALTER SEQUENCE counter OWNED BY a.id", "sequence public.counter"),
    .init("ALTER TABLE b DISABLE TRIGGER ALL", "constraint b_a_fkey of public.b"),
    .init("ALTER TABLE b ENABLE TRIGGER ALL", "constraint b_a_fkey of public.b"),
    .init("ALTER TABLE a ALTER v SET STORAGE EXTERNAL", "column public.a.v"),
    .init("ALTER TABLE a ALTER v SET STATISTICS 500", "column public.a.v"),
    .init("ALTER TABLE a ALTER id SET (n_distinct = -0.5)", "column public.a.id"),
    .init("ALTER TABLE typed NOT OF", "table public.typed"),
    .init("ALTER FOREIGN TABLE remote OPTIONS (SET name 'two')", "foreign table public.remote"),
    .init("ALTER FOREIGN TABLE remote ALTER id OPTIONS (name 'id')", "column public.remote.id"),
    .init("ALTER SERVER there OPTIONS (SET host 'two')", "foreign server there"),
    .init(
      "ALTER USER MAPPING FOR PUBLIC SERVER there OPTIONS (SET password 'secret two')",
      "user mapping for PUBLIC on there"),
    .init("ALTER FOREIGN DATA WRAPPER far OPTIONS (ADD debug 'on')", "foreign data wrapper far"),
    .init(
      "ALTER DEFAULT PRIVILEGES FOR ROLE one IN SCHEMA public GRANT SELECT ON TABLES TO two",
      "default privileges of one for tables in public"),
    .init("ALTER DEFAULT PRIVILEGES FOR ROLE one REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC", "default privileges of one"),
    .init("CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION seen()", "event trigger watch"),
    .init("ALTER EVENT TRIGGER watch DISABLE", "event trigger watch"),
    .init("CREATE PUBLICATION news FOR TABLE a", "publication news"),
    .init("ALTER PUBLICATION news ADD TABLE b", "publication news"),
    .init("CREATE STATISTICS pairs ON id, v FROM a", "statistics public.pairs"),
    .init("CREATE OPERATOR @#@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = add)", "operator public.@#@"),
    .init(
      "CREATE OPERATOR FAMILY kin USING btree; CREATE OPERATOR CLASS order_of FOR TYPE integer USING btree FAMILY kin AS OPERATOR 1 <",
      "operator class public.order_of using btree"),
    .init(
      "ALTER OPERATOR FAMILY kin USING btree ADD FUNCTION 1 (integer, integer) btint4cmp(integer, integer)",
      "operator family public.kin using btree"),
    .init("CREATE CAST (integer AS pair) WITH FUNCTION make(integer)", "cast integer to public.pair"),
    .init("CREATE COLLATION plain (LOCALE = 'C')", "collation public.plain"),
    .init("CREATE CONVERSION recode FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", "conversion public.recode"),
    .init("CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple)", "text search dictionary public.plain"),
    .init("ALTER TEXT SEARCH DICTIONARY plain (stopwords = english)", "text search dictionary public.plain"),
    .init(
      "ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR asciiword WITH plain",
      "text search configuration public.words"),
    .init(
      "CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = add, STYPE = integer, INITCOND = '5')",
      "function public.total(integer)"),
    .init("ALTER FUNCTION add(integer, integer) COST 7 LEAKPROOF", "function public.add(integer,integer)"),
    .init("ALTER DOMAIN code OWNER TO two", "type public.code"),
    .init("DROP TYPE spans; CREATE TYPE spans AS RANGE (subtype = bigint)", "type public.spans"),
    .init("CREATE ACCESS METHOD pile TYPE TABLE HANDLER heap_tableam_handler", "access method pile"),
    .init("ALTER LANGUAGE plpgsql OWNER TO two", "language plpgsql"),
    .init("ALTER EXTENSION plpgsql ADD TABLE typed", "extension plpgsql"),
    .init("COMMENT ON COLUMN a.v IS 'read by a program'", "comment on table column public.a.v"),
    .init("COMMENT ON TABLE a IS 'read by a program'", "comment on table public.a"),
  ]

  @Test func everyKindOfChangeIsNamed() async throws {
    try await TwoServers.with { source in
      try await source.run("postgres", Self.schema)
    } _: { servers in
      for change in Self.changes {
        try await servers.run("source", "postgres", change.ddl)
        let found = try await Self.drift(servers)
        #expect(found.contains { $0.hasPrefix(change.object) }, "\(change.ddl): \(found)")
        #expect(!found.contains { $0.contains("secret") }, "a password is shown: \(found)")
        // Its oids are others here.
        try await servers.run("target", "postgres", "CREATE TEMPORARY TABLE next_oid (); " + change.ddl)
      }
      #expect(try await Self.drift(servers) == [])
    }
  }

  private static func drift(_ servers: TwoServers) async throws -> [String] {
    try await servers.pair("postgres") { try await SchemaDrift.between(source: $0, target: $1) }.differences
  }
}
