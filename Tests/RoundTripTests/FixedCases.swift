import BlockingIO
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// A small schema with a few transactions, replayed both ways.
struct FixedCase: Sendable, CustomTestStringConvertible {
  var testDescription: String
  /// `CREATE DATABASE`'s options.
  var options = "TEMPLATE common"
  /// Definitions and rows that both sides have.
  var setup: [String]
  /// What happens behind the hand-off, each entry a transaction.
  var changes: [String]
  /// Statements on the target before the replay.
  var drift: [String] = []
  /// Whether some batch has to be replayed change by change.
  var fallsBack = false

  /// What went wrong, by mode.
  func run(
    _ server: Cluster, modes: [ReplayMode] = [.single, .batches]
  ) throws -> [String] {
    var pair = try Pair(server, named: "fixed_\(HandOffNames.random().nonce)", options: options)
    var problems: [String] = []
    try execute(setup, on: server, pair.source)
    try pair.handOff(to: modes.map(\.rawValue))
    for target in pair.targets { try execute(drift, on: server, target) }
    try execute(changes, on: server, pair.source)
    let end = try pair.end()
    for (mode, target) in zip(modes, pair.targets) {
      var replay = Replay(pair, to: target, end: end, mode: mode, seed: 1)
      let outcome = try replay.run()
      var found = outcome.problems
      if mode == .batches && found.isEmpty && outcome.fallbacks.isEmpty == fallsBack {
        found.append("fell back: \(outcome.fallbacks)")
      }
      problems += found.map { "\(mode): \($0)" }
      if found.isEmpty { problems += try pair.differences(from: target).map { "\(mode): \($0)" } }
    }
    try pair.drop()
    return problems
  }

  private func execute(_ statements: [String], on server: Cluster, _ database: String) throws {
    let connection = try server.connect(database)
    try connection.script("SET client_encoding = \(options.contains("SQL_ASCII") ? "SQL_ASCII" : "UTF8")")
    for statement in statements {
      do throws(PostgresError) {
        try connection.script(statement.replacing("CURRENT_DATABASE", with: quotedIdentifier(database)))
      } catch {
        throw Broken(text: "\(error): \(statement)")
      }
    }
  }
}

extension RoundTripSuites {
  /// What random seeds have found, and what they cannot reach, one small case each.
  @Suite struct FixedRoundTrips {
    private static let q = quotedIdentifier(CommonObjects.schema)

    static let cases: [FixedCase] = [
      FixedCase(
        testDescription: "a composite value in a set-based update",
        setup: [
          "CREATE TABLE t (id integer PRIMARY KEY, c \(q).pair, d \(q).dpair, n text)",
          "INSERT INTO t SELECT g, '(a,1,t)', '(b,2,f)', 'x' FROM generate_series(1, 9) g",
        ],
        changes: [
          "UPDATE t SET c = '(it''s,1.50,)', n = 'y'", "UPDATE t SET d = NULL WHERE id < 3", "UPDATE t SET d = '(,,)'",
        ]),
      FixedCase(
        testDescription: "keys of an extension's type",
        setup: [
          "CREATE TABLE h (k \(q).hstore PRIMARY KEY, v text)", "CREATE TABLE l (k \(q).ltree PRIMARY KEY, v text)",
          "CREATE TABLE c (k \(q).citext PRIMARY KEY, v text)",
          "CREATE TABLE f (k \(q).hstore, v text)", "ALTER TABLE f REPLICA IDENTITY FULL", "CREATE INDEX ON f (k)",
          "INSERT INTO h VALUES ('a=>1', 'x'), ('b=>2', 'x')", "INSERT INTO l VALUES ('a.b', 'x'), ('a', 'x')",
          "INSERT INTO c VALUES ('Abc', 'x'), ('d', 'x')", "INSERT INTO f SELECT * FROM h",
        ],
        changes: [
          "UPDATE h SET v = 'y'", "UPDATE l SET v = 'y'", "UPDATE c SET v = 'y'", "UPDATE f SET v = 'y'",
          "UPDATE h SET k = 'c=>3' WHERE k OPERATOR(\(q).=) 'a=>1'",
          "UPDATE l SET k = 'x.y.z' WHERE v = 'y' AND k::text = 'a'",
          "UPDATE c SET k = 'ABC' WHERE k::text = 'Abc'", "DELETE FROM h WHERE k::text = '\"b\"=>\"2\"'",
          "DELETE FROM l WHERE k::text = 'a.b'", "UPDATE c SET v = 'z'", "DELETE FROM f WHERE k::text = '\"a\"=>\"1\"'",
        ]),
      FixedCase(
        testDescription: "TRUNCATE of a table that an unlogged one references",
        setup: [
          "CREATE TABLE p (id integer PRIMARY KEY)", "CREATE TABLE c (id integer PRIMARY KEY REFERENCES p)",
          "CREATE UNLOGGED TABLE u (id integer PRIMARY KEY REFERENCES p)",
          "CREATE UNLOGGED TABLE uu (id integer REFERENCES u)", "INSERT INTO p VALUES (1)",
          "INSERT INTO c VALUES (1)", "INSERT INTO u VALUES (1)",
        ],
        changes: [
          "TRUNCATE p CASCADE", "INSERT INTO p VALUES (2), (3)", "TRUNCATE p, c, u, uu", "INSERT INTO p VALUES (4)",
        ]),
      FixedCase(
        testDescription: "unique values that pass each other, in a batch and out of it",
        setup: [
          "CREATE TABLE t (id integer PRIMARY KEY, u integer UNIQUE, d integer UNIQUE DEFERRABLE INITIALLY DEFERRED)",
          "INSERT INTO t SELECT g, g, g FROM generate_series(1, 30) g",
        ],
        changes: [
          "UPDATE t SET u = -u WHERE id < 3; UPDATE t SET u = 3 + u WHERE u < 0", "UPDATE t SET d = 31 - d",
          "DELETE FROM t WHERE id = 7; UPDATE t SET u = 7 WHERE id = 8; INSERT INTO t VALUES (7, 8, 24)",
          "UPDATE t SET id = -id; UPDATE t SET id = 31 + id",
        ], fallsBack: true),
      FixedCase(
        testDescription: "keys that are equal without being the same",
        setup: [
          "CREATE TABLE n (k numeric PRIMARY KEY, v text)", "CREATE TABLE f (k float8 PRIMARY KEY, v text)",
          "CREATE TABLE c (k text COLLATE \(q).loose PRIMARY KEY, v text)",
          "INSERT INTO n VALUES (1.0, 'x'), (2, 'x')", "INSERT INTO f VALUES (0, 'x'), ('NaN', 'x')",
          "INSERT INTO c VALUES ('a', 'x'), ('b', 'x')",
        ],
        changes: [
          "UPDATE n SET k = 1.00 WHERE k = 1; UPDATE n SET v = 'y'; DELETE FROM n WHERE k = 1; INSERT INTO n VALUES (1, 'z')",
          "UPDATE f SET k = '-0' WHERE k = 0; UPDATE f SET v = 'y'; DELETE FROM f WHERE k = 0; INSERT INTO f VALUES (0, 'z')",
          "UPDATE c SET k = 'A' WHERE k = 'a'; UPDATE c SET v = 'y'; DELETE FROM c WHERE k = 'a'; INSERT INTO c VALUES ('a', 'z')",
        ]),
      FixedCase(
        testDescription: "booleans and bits under REPLICA IDENTITY FULL",
        setup: [
          "CREATE TABLE t (b boolean, v \"char\", x bit(3), n text)", "ALTER TABLE t REPLICA IDENTITY FULL",
          "INSERT INTO t VALUES (true, 'a', B'101', 'x'), (false, 'b', B'000', 'x'), (NULL, NULL, NULL, NULL)",
          "CREATE TABLE i (b boolean, n text)", "ALTER TABLE i REPLICA IDENTITY FULL", "CREATE INDEX ON i (b)",
          "INSERT INTO i VALUES (true, 'x'), (false, 'x'), (false, 'x')",
        ],
        changes: [
          "UPDATE t SET n = 'y'", "DELETE FROM t WHERE b", "UPDATE i SET n = 'y' WHERE b", "DELETE FROM i WHERE NOT b",
        ]),
      FixedCase(
        testDescription: "a database in LATIN1, names and values",
        options: "ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        setup: [
          "CREATE SCHEMA \"Größe\"", "CREATE TYPE \"Größe\".\"Maß\" AS ENUM ('groß', 'klein')",
          "CREATE TABLE \"Größe\".\"Tür ½\" (\"schlüssel\" text, v text, m \"Größe\".\"Maß\", PRIMARY KEY (\"schlüssel\"))",
          "CREATE TABLE \"Größe\".\"voll\" (\"ä\" text, b boolean, j json)",
          "ALTER TABLE \"Größe\".\"voll\" REPLICA IDENTITY FULL",
          "INSERT INTO \"Größe\".\"Tür ½\" VALUES ('é', 'ÿ', 'groß'), ('it''s ö', NULL, 'klein')",
          "INSERT INTO \"Größe\".voll VALUES ('é', true, '{\"ü\":1}'), ('é', true, '{\"ü\":1}')",
        ],
        changes: [
          "UPDATE \"Größe\".\"Tür ½\" SET v = 'ß''', m = 'groß'",
          "INSERT INTO \"Größe\".\"Tür ½\" VALUES ('ñ', '¿', 'klein')",
          "UPDATE \"Größe\".\"Tür ½\" SET \"schlüssel\" = 'Ø' WHERE \"schlüssel\" = 'é'",
          "DELETE FROM \"Größe\".\"Tür ½\" WHERE \"schlüssel\" = 'ñ'",
          "UPDATE \"Größe\".voll SET \"ä\" = 'ö'",
          "DELETE FROM \"Größe\".voll WHERE ctid = (SELECT min(ctid) FROM \"Größe\".voll)",
          "TRUNCATE \"Größe\".\"Tür ½\"", "INSERT INTO \"Größe\".\"Tür ½\" VALUES ('ä', 'æ', 'groß')",
        ]),
      FixedCase(
        testDescription: "a database in SQL_ASCII, bytes of any kind in values",
        options: "ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        setup: [
          "CREATE TABLE \"größe\" (\"ä\" text PRIMARY KEY, v text)",
          "INSERT INTO \"größe\" VALUES (E'\\xff\\xfe', E'\\x80'), ('é', E'\\xe9')",
        ],
        changes: [
          "UPDATE \"größe\" SET v = E'\\xc3\\x28\\x27'", "INSERT INTO \"größe\" VALUES (E'\\xf0', E'\\xa0\\\\')",
          "UPDATE \"größe\" SET \"ä\" = E'\\xfd' WHERE \"ä\" = E'\\xff\\xfe'",
          "DELETE FROM \"größe\" WHERE \"ä\" = E'\\xf0'",
        ]),
      FixedCase(
        testDescription: "settings of the source database",
        setup: [
          "CREATE TABLE \"T t\" (id integer PRIMARY KEY, d date, ts timestamptz, f float8, b bytea, i interval, m money, x xml)",
          "CREATE TABLE full_ (d date, ts timestamptz, f float8, b bytea, i interval, m money)",
          "ALTER TABLE full_ REPLICA IDENTITY FULL",
          "INSERT INTO \"T t\" VALUES (1, '2024-03-04', '2024-03-04 05:06:07+03', 0.1, '\\xff00', '1 year -2 days', 1.5, '<a/>')",
          "INSERT INTO full_ SELECT d, ts, f, b, i, m FROM \"T t\"",
        ],
        changes: [
          "ALTER DATABASE CURRENT_DATABASE SET datestyle = 'German, DMY'",
          "ALTER DATABASE CURRENT_DATABASE SET intervalstyle = 'sql_standard'",
          "ALTER DATABASE CURRENT_DATABASE SET timezone = 'Asia/Kathmandu'",
          "ALTER DATABASE CURRENT_DATABASE SET bytea_output = 'escape'",
          "ALTER DATABASE CURRENT_DATABASE SET extra_float_digits = 0",
          "ALTER DATABASE CURRENT_DATABASE SET quote_all_identifiers = on",
          "ALTER DATABASE CURRENT_DATABASE SET search_path = public, \(q)",
          "ALTER DATABASE CURRENT_DATABASE SET xmloption = 'document'",
          "INSERT INTO \"T t\" VALUES (2, '2024-05-06', now(), 1e-307 / 3, '\\x0001', '-1 mons +3 days -04:05:06', -2, '<b/>')",
          "UPDATE \"T t\" SET f = f / 7, d = d + 1", "INSERT INTO full_ SELECT d, ts, f, b, i, m FROM \"T t\"",
          "UPDATE full_ SET f = f / 11", "DELETE FROM full_ WHERE m > '0'",
        ]),
    ]

    @Test(arguments: cases) func endsAsTheSource(fixed: FixedCase) async throws {
      let server = try RoundTripServer.running()
      let problems = try await onDedicatedThread("round-trip") { try fixed.run(server) }
      #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    /// Names that are no UTF-8, which a database in SQL_ASCII can have, are out of reach: the database parks.
    @Test func namesOutsideUTF8Park() async throws {
      let server = try RoundTripServer.running()
      let fixed = FixedCase(
        testDescription: "a name in SQL_ASCII",
        options: "ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        setup: ["DO 'BEGIN EXECUTE format(''CREATE TABLE %I (id integer PRIMARY KEY)'', E''t\\xfcr''); END'"],
        changes: ["DO 'BEGIN EXECUTE format(''INSERT INTO %I VALUES (1)'', E''t\\xfcr''); END'"])
      let problems = try await onDedicatedThread("round-trip") { try fixed.run(server, modes: [.single]) }
      #expect(problems.count == 1)
      #expect(problems.first?.contains("does not exist (SQLSTATE 42P01)") == true, "\(problems)")
    }

    /// A statement that the target does not even parse: the failure names the change that it was for.
    @Test func aFailureNamesItsOwnChange() async throws {
      let server = try RoundTripServer.running()
      let fixed = FixedCase(
        testDescription: "drift",
        setup: ["CREATE TABLE a (id integer PRIMARY KEY)", "CREATE TABLE b (id integer PRIMARY KEY)"],
        changes: [
          "INSERT INTO a VALUES (1)", "BEGIN", "INSERT INTO b VALUES (1)", "INSERT INTO a VALUES (2)", "COMMIT",
        ],
        drift: ["ALTER TABLE b RENAME TO kept", "CREATE VIEW b AS SELECT DISTINCT id FROM kept"])
      let problems = try await onDedicatedThread("round-trip") { try fixed.run(server, modes: [.single]) }
      #expect(problems.count == 1)
      #expect(problems.first?.hasPrefix("single: insert of public.b, xid ") == true, "\(problems)")
    }
  }
}
