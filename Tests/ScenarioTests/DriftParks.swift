import Glibc
import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// DDL on the source alone, of every kind that makes a row fail on the target: the database is parked before that row,
  /// says what does not fit, and goes on with it when the target is mended.
  ///
  /// With `PGCONVOY_DRIFTS=1` only: a parked worker looks again every 15 seconds. `ParkedDatabase` has one kind always.
  @Suite(.serialized, .enabled(if: getenv("PGCONVOY_DRIFTS") != nil)) struct DriftParks {
    static let tables = """
      CREATE TABLE drift_renamed (id integer PRIMARY KEY, name text);
      CREATE TABLE drift_type (id integer PRIMARY KEY, value integer);
      CREATE TABLE drift_length (id integer PRIMARY KEY, value varchar(10));
      CREATE TABLE drift_null (id integer PRIMARY KEY, value integer NOT NULL);
      CREATE TABLE drift_dropped (id integer PRIMARY KEY, value text NOT NULL);
      """

    struct Kind: Sendable, CustomTestStringConvertible {
      var table: String
      /// What the source gets first and the target later.
      var ddl: String
      /// A row that only then fits, and its text on both sides in the end.
      var row: String
      /// What the error says.
      var words: String
      var testDescription: String { table }
    }

    static let kinds = [
      Kind(
        table: "drift_renamed", ddl: "ALTER TABLE drift_renamed RENAME name TO title", row: "(1, 'a')", words: "title"),
      Kind(
        table: "drift_type", ddl: "ALTER TABLE drift_type ALTER value TYPE text", row: "(1, 'one')",
        words: "invalid input syntax for type integer"),
      Kind(
        table: "drift_length", ddl: "ALTER TABLE drift_length ALTER value TYPE text", row: "(1, 'longer than ten')",
        words: "value too long for type character varying(10)"),
      Kind(
        table: "drift_null", ddl: "ALTER TABLE drift_null ALTER value DROP NOT NULL", row: "(1, NULL)",
        words: "violates not-null constraint"),
      Kind(
        table: "drift_dropped", ddl: "ALTER TABLE drift_dropped DROP value", row: "(1)",
        words: "violates not-null constraint"),
      Kind(
        table: "drift_new", ddl: "CREATE TABLE drift_new (id integer PRIMARY KEY, value text)", row: "(1, 'new')",
        words: "drift_new"),
    ]

    @Test(arguments: kinds) func beforeTheRowThatWouldFail(kind: Kind) async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(.sourceApp, kind.ddl, in: "alpha")
      try await scenario.script(.sourceApp, "INSERT INTO \(kind.table) VALUES \(kind.row)", in: "alpha")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }
      let error = try #require(try await scenario.status("alpha").lastError)
      #expect(error.contains(kind.table) && error.contains(kind.words), "\(error)")
      try await eventually("the drift in the status") {
        try await scenario.status("alpha").drift?.contains { $0.contains(kind.table) } == true
      }
      #expect(try await scenario.status("beta").phase != .parked)

      try await scenario.script(.target, kind.ddl, in: "alpha")
      try await eventually("the stream going on") { try await scenario.status("alpha").phase == .streaming }
      try await scenario.drained(["alpha"])
      let rows = "SELECT t::text FROM \(kind.table) AS t ORDER BY 1"
      let theirs = try await scenario.sql(.source, rows, in: "alpha")
      #expect(try await scenario.sql(.target, rows, in: "alpha") == theirs)
      #expect(theirs.count == 1)
    }
  }
}
