import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import MigrationCore
@testable import Verification

/// What no logical stream carries: sequences and materialized views.
@Suite("Sequences and materialized views of two servers", .serialized)
struct CarriedOverTests {
  static let sequences = """
    CREATE SCHEMA "o'dd ""schema"" \\";
    CREATE SEQUENCE never_called;
    CREATE SEQUENCE called;
    CREATE SEQUENCE down AS smallint INCREMENT -1 MINVALUE -100 MAXVALUE -1;
    CREATE SEQUENCE around AS int MAXVALUE 3 CYCLE CACHE 2;
    CREATE SEQUENCE "o'dd ""schema"" \\"."sel""ect; --";
    CREATE SEQUENCE U&"caf\\00e9";
    CREATE SEQUENCE U&"cafe\\0301";
    CREATE UNLOGGED SEQUENCE unlogged;
    CREATE TABLE owner (a serial, b int GENERATED ALWAYS AS IDENTITY, c bigserial);
    """

  @Test func sequencesStandWhereTheSourcesDo() async throws {
    let place = ConvoyError.Place.database(migration: "m", name: "postgres")
    try await TwoServers.with { source in
      try await source.run("postgres", Self.sequences)
      let many = (1...250).map { "CREATE SEQUENCE many_\($0);" }.joined()
      try await source.run("postgres", many)
    } _: { servers in
      try await servers.run(
        "source", "postgres",
        """
        SELECT nextval('called') FROM generate_series(1, 5); SELECT nextval('down'), nextval('around');
        ALTER SEQUENCE never_called RESTART 42; SELECT setval('"o''dd ""schema"" \\"."sel""ect; --"', 9);
        SELECT setval(U&'"caf\\00e9"', 5), setval(U&'"cafe\\0301"', 6), setval('unlogged', 9223372036854775807);
        INSERT INTO owner DEFAULT VALUES; SELECT nextval('many_250')
        """)
      try await servers.run("target", "postgres", "SELECT nextval('called') FROM generate_series(1, 50)")
      try await servers.pair("postgres") { source, target in
        let outcome = try await copy(source, target, place)
        #expect([outcome.wanted.count, outcome.changes.count] == [261, 12])
        #expect(try await SequenceCopy.read(source) == SequenceCopy.read(target))
        #expect(try await target.query("SELECT pg_catalog.nextval('public.called')").first == "6")
        #expect(try await target.query("SELECT pg_catalog.nextval('public.never_called')").first == "42")
        #expect(try await target.query("SELECT pg_catalog.nextval('public.down')").first == "-2")
        let again = try await copy(source, target, place)
        #expect([again.wanted.count, again.changes.count] == [261, 3])

        try await target.script("ALTER SEQUENCE public.down INCREMENT -2")
        await #expect(throws: ConvoyError.differing) {
          try await copy(source, target, place)
        }
        try await target.script("DROP SEQUENCE public.called, public.around")
        await #expect(throws: ConvoyError.missing) {
          try await copy(source, target, place)
        }
      }
    }
  }

  /// What the step's deeds do.
  @discardableResult
  private func copy(
    _ source: PostgresSession, _ target: PostgresSession, _ place: ConvoyError.Place
  ) async throws -> SequenceCopy.Plan {
    let plan = try await SequenceCopy.plan(source: source, target: target, at: place)
    for statement in plan.statements { try await target.query(statement) }
    try await SequenceCopy.confirm(plan, target, at: place)
    return plan
  }

  static let views = """
    CREATE TABLE base (a int);
    INSERT INTO base VALUES (1), (2);
    CREATE MATERIALIZED VIEW "z bottom" AS SELECT a FROM base;
    CREATE VIEW middle AS SELECT a FROM "z bottom";
    CREATE MATERIALIZED VIEW a_top AS SELECT sum(a) AS total FROM middle;
    CREATE FUNCTION hidden() RETURNS bigint LANGUAGE sql AS 'SELECT total FROM a_top';
    CREATE MATERIALIZED VIEW a_hidden AS SELECT hidden();
    CREATE MATERIALIZED VIEW same AS SELECT 1 AS one;
    CREATE MATERIALIZED VIEW stale AS SELECT count(*) FROM base;
    CREATE MATERIALIZED VIEW unpopulated AS SELECT 1 AS one WITH NO DATA;
    CREATE MATERIALIZED VIEW broken AS SELECT a FROM base WITH NO DATA;
    CREATE MATERIALIZED VIEW late AS SELECT a FROM base WITH NO DATA;
    ALTER DATABASE postgres SET TimeZone = 'Asia/Tokyo';
    CREATE TABLE visit (at timestamptz);
    CREATE MATERIALIZED VIEW daily AS SELECT at::date AS day FROM visit;
    """

  @Test func viewsThatDifferAreRefreshedInTheirOrder() async throws {
    try await TwoServers.with { source in
      try await source.run("postgres", Self.views)
    } _: { servers in
      try await servers.run(
        "source", "postgres",
        """
        REFRESH MATERIALIZED VIEW broken;
        INSERT INTO base VALUES (3); REFRESH MATERIALIZED VIEW stale; INSERT INTO base VALUES (4);
        REFRESH MATERIALIZED VIEW "z bottom"; REFRESH MATERIALIZED VIEW a_top; REFRESH MATERIALIZED VIEW a_hidden;
        REFRESH MATERIALIZED VIEW late;
        INSERT INTO visit VALUES ('2026-01-01 20:00+00'); REFRESH MATERIALIZED VIEW daily
        """)
      // What a worker would have applied, and a view whose refresh fails.
      try await servers.run(
        "target", "postgres",
        """
        INSERT INTO base VALUES (3), (4); INSERT INTO visit VALUES ('2026-01-01 20:00+00'); DROP MATERIALIZED VIEW broken;
        CREATE MATERIALIZED VIEW broken AS SELECT a / (a - 1) AS a FROM base WITH NO DATA
        """)
      let writing = { try await WritingSettings.ask(servers.source.parameters("postgres")) }
      try await servers.pair("postgres") { source, target in
        let outcome = try await MaterializedViewRefresh.run(
          database: "postgres", source: source, target: target, writing: writing, at: .host("here"))
        #expect(outcome.compared == 8)
        #expect(
          Set(outcome.refreshed.map(\.name)) == ["z bottom", "a_top", "a_hidden", "stale", "broken", "late", "daily"])
        #expect(
          outcome.findings == [
            .init(
              .failure,
              "materialized view public.broken is older than the source's and cannot be refreshed: "
                + "division by zero (SQLSTATE 22012)",
              database: "postgres"),
            .init(
              .warning,
              "materialized view public.stale was refreshed and differs from the source's, which is older than its"
                + " tables or not the same each time",
              database: "postgres"),
          ])
        for name in ["\"z bottom\"", "a_top", "a_hidden", "late", "daily"] {
          let query = "SELECT * FROM public.\(name) ORDER BY 1"
          let here = try await source.query(query).rows.map { $0[0] }
          #expect(try await target.query(query).rows.map { $0[0] } == here)
        }
        #expect(
          try await target.query("SELECT relispopulated FROM pg_class WHERE relname = 'unpopulated'").first == "f")
        #expect(try await target.query("SHOW search_path").first == "")
        #expect(try await target.query("SHOW TimeZone").first == "UTC")
        try await target.script("DROP MATERIALIZED VIEW public.same")
        await #expect(throws: ConvoyError.self) {
          try await MaterializedViewRefresh.run(
            database: "postgres", source: source, target: target, writing: writing, at: .host("here"))
        }
      }
    }
  }
}

extension ConvoyError {
  fileprivate static let missing = ConvoyError(
    "drift.sequences-missing", "not on the target: sequence public.around, sequence public.called",
    at: .database(migration: "m", name: "postgres"),
    hint: "create them on the target as they are on the source, with the tables that use them")
  fileprivate static let differing = ConvoyError(
    "drift.sequences-differ", "altered since the copy: sequence public.down",
    at: .database(migration: "m", name: "postgres"), hint: "run the same ALTER SEQUENCE on the target")
}
