import Foundation
import PostgresClient

/// Base data that source and targets share, and the changes of the backlog.
struct Workload {
  let name: String
  let title: String
  let databases: [String]
  /// Rows that the backlog changes, over all databases.
  let changes: Int
  /// The base, in each database.
  let base: @Sendable (Cluster, String) throws -> Void
  /// Starts what writes the backlog of one database; the programs of all databases run at once.
  let backlog: @Sendable (Cluster, String) throws -> Program

  static func all(scale: Double) -> [Workload] {
    [inserts(scale), tpcb(scale), chef(scale), toast(scale), eight(scale)]
  }

  static func scaled(_ number: Int, _ scale: Double, multipleOf unit: Int = 1) -> Int {
    max(1, Int(Double(number / unit) * scale)) * unit
  }

  private static func psql(_ cluster: Cluster, _ database: String, _ sql: String) throws -> Program {
    let program = try Program(
      Cluster.bin + "/psql",
      ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "SET synchronous_commit = off", "-c", sql]
        + cluster.address(database))
    program.closeInput()
    return program
  }

  private static func inserts(_ scale: Double) -> Workload {
    let rows = scaled(1_000_000, scale, multipleOf: 1_000)
    return Workload(
      name: "W1", title: "\(rows) inserts, 1,000 a transaction", databases: ["w1"], changes: rows,
      base: { cluster, database in
        try cluster.connect(database).script(
          """
          CREATE TABLE entry (id bigint PRIMARY KEY, account integer NOT NULL, amount numeric(12,2), note text,
                              at timestamptz NOT NULL)
          """)
      },
      backlog: { cluster, database in
        try psql(
          cluster, database,
          """
          DO $$ BEGIN
            FOR t IN 0 .. \(rows / 1_000 - 1) LOOP
              INSERT INTO entry SELECT n, n % 5000, n / 7.0, 'note ' || md5(n::text) || ' of ' || n,
                                       timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second'
                FROM generate_series(t::bigint * 1000 + 1, t::bigint * 1000 + 1000) n;
              COMMIT;
            END LOOP;
          END $$
          """)
      })
  }

  static func pgbenchBase(scale: Int) -> @Sendable (Cluster, String) throws -> Void {
    { cluster, database in
      try run(
        Cluster.bin + "/pgbench", ["-i", "-q", "-s", "\(scale)"] + cluster.address(database).dropLast(2) + [database])
    }
  }

  private static func pgbench(clients: Int, transactions: Int) -> @Sendable (Cluster, String) throws -> Program {
    { cluster, database in
      let program = try Program(
        Cluster.bin + "/pgbench",
        ["-n", "-M", "prepared", "--random-seed=1", "-c", "\(clients)", "-t", "\(transactions / clients)"]
          + cluster.address(database).dropLast(2) + [database],
        environment: ["PGOPTIONS": "-c synchronous_commit=off"])
      program.closeInput()
      return program
    }
  }

  private static func tpcb(_ scale: Double) -> Workload {
    let transactions = scaled(100_000, scale, multipleOf: 4)
    return Workload(
      name: "W2", title: "\(transactions) TPC-B transactions of pgbench, scale 20", databases: ["w2"],
      changes: transactions * 4, base: pgbenchBase(scale: 20),
      backlog: pgbench(clients: 4, transactions: transactions))
  }

  private static func eight(_ scale: Double) -> Workload {
    let transactions = scaled(20_000, scale, multipleOf: 2)
    return Workload(
      name: "W5", title: "8 databases at once, each with \(transactions) TPC-B transactions, scale 5",
      databases: (1...8).map { "w5_\($0)" }, changes: 8 * transactions * 4, base: pgbenchBase(scale: 5),
      backlog: pgbench(clients: 2, transactions: transactions))
  }

  private static func chef(_ scale: Double) -> Workload {
    let transactions = scaled(100_000, scale, multipleOf: 10)
    return Workload(
      name: "W3",
      title: "\(transactions) transactions of two rows: inserts with 450-byte keys, updates of one column, deletes",
      databases: ["w3"], changes: transactions * 2,
      base: { cluster, database in
        let connection = try cluster.connect(database)
        try connection.script(
          """
          CREATE FUNCTION long_key(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
            $$ SELECT rpad('organizations/' || n || '/', 450, md5(n::text) || md5((n + 1)::text)) $$;
          CREATE TABLE node (key text PRIMARY KEY, environment text NOT NULL, checksum text, updated timestamptz NOT NULL,
                             attributes integer NOT NULL);
          INSERT INTO node SELECT long_key(n), 'production', md5(n::text), timestamptz '2026-01-01 00:00:00+00', n
            FROM generate_series(1, 100000) n;
          """)
      },
      // Of ten transactions six insert, three update, one deletes.
      backlog: { cluster, database in
        try psql(
          cluster, database,
          """
          DO $$ DECLARE next bigint := 100001; gone bigint := 1; BEGIN
            FOR t IN 0 .. \(transactions - 1) LOOP
              IF t % 10 < 6 THEN
                INSERT INTO node VALUES (long_key(next), 'staging', md5(t::text), clock_timestamp(), t);
                INSERT INTO node VALUES (long_key(next + 1), 'staging', md5(t::text), clock_timestamp(), t);
                next := next + 2;
              ELSIF t % 10 < 9 THEN
                UPDATE node SET updated = clock_timestamp() WHERE key = long_key(50001 + (t * 7919::bigint) % 50000);
                UPDATE node SET updated = clock_timestamp() WHERE key = long_key(50001 + (t * 104729::bigint + 1) % 50000);
              ELSE
                DELETE FROM node WHERE key = long_key(gone);
                DELETE FROM node WHERE key = long_key(gone + 1);
                gone := gone + 2;
              END IF;
              COMMIT;
            END LOOP;
          END $$
          """)
      })
  }

  private static func toast(_ scale: Double) -> Workload {
    let transactions = scaled(25_000, scale, multipleOf: 4)
    return Workload(
      name: "W4",
      title:
        "\(transactions * 2) updates, two a transaction, of rows with two TOASTed values of 8 kB; one in four replaces one of them",
      databases: ["w4"], changes: transactions * 2,
      base: { cluster, database in
        let connection = try cluster.connect(database)
        try connection.script(
          """
          CREATE FUNCTION wide(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
            $$ SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 256) i $$;
          CREATE TABLE document (id bigint PRIMARY KEY, version integer NOT NULL, title text, body text, source text);
          ALTER TABLE document ALTER body SET STORAGE EXTERNAL, ALTER source SET STORAGE EXTERNAL;
          INSERT INTO document SELECT n, 0, 'title ' || n, wide(n), wide(n + 1) FROM generate_series(1, 10000) n;
          """)
      },
      backlog: { cluster, database in
        try psql(
          cluster, database,
          """
          DO $$ BEGIN
            FOR t IN 0 .. \(transactions - 1) LOOP
              UPDATE document SET version = version + 1 WHERE id = 1 + (t * 7919::bigint) % 10000;
              IF t % 2 = 0 THEN
                UPDATE document SET version = version + 1, body = wide(t) WHERE id = 1 + (t * 104729::bigint + 1) % 10000;
              ELSE
                UPDATE document SET version = version + 1, title = 'title ' || t
                  WHERE id = 1 + (t * 104729::bigint + 1) % 10000;
              END IF;
              COMMIT;
            END LOOP;
          END $$
          """)
      })
  }
}

extension Workload {
  /// The table whose one row says that all before it has arrived.
  static let marker = "bench_marker"
  static let publication = "bench"

  /// Makes the databases with their base, on the source.
  func load(_ source: Cluster) throws {
    let admin = try source.connect()
    for database in databases {
      try admin.script("CREATE DATABASE \(database)")
      try base(source, database)
      let connection = try source.connect(database)
      try connection.script("CREATE TABLE \(Self.marker) (id integer PRIMARY KEY)")
      try connection.script("CREATE EXTENSION pg_prewarm")
      // Not of all tables: pglogical and pgcopydb keep theirs on the source, in schemas of their own.
      try connection.script("CREATE PUBLICATION \(Self.publication) FOR TABLES IN SCHEMA public")
      try connection.script("VACUUM ANALYZE")
    }
  }

  /// Writes the backlog, then the markers. Returns where the WAL ends then.
  func writeBacklog(_ source: Cluster) throws -> String {
    let programs = try databases.map { try backlog(source, $0) }
    for program in programs { try program.finish() }
    for database in databases {
      try source.connect(database).script("INSERT INTO \(Self.marker) VALUES (1)")
    }
    let connection = try source.connect(databases[0])
    let end = try connection.query("SELECT pg_current_wal_insert_lsn()").first ?? ""
    try connection.query("SELECT pg_logical_emit_message(true, 'bench', 'end')")
    return end
  }

  /// A sum over every row of every table, to compare.
  static func fingerprint(_ connection: PostgresConnection) throws -> String {
    let tables = try connection.query(
      """
      SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY 1
      """
    ).rows.map { $0.string(0) }
    return try tables.map { table in
      let row = try connection.query("SELECT count(*), sum(hashtext(t::text)::bigint) FROM \(table) t").rows[0]
      return "\(table) \(row.string(0)) \(row.string(1))"
    }.joined(separator: ", ")
  }
}
