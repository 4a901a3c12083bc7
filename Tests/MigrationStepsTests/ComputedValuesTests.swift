import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import Verification

extension VerificationTests {
  /// Functions that are declared immutable and go by settings or names, and what they are used by.
  static let computed = """
    ALTER DATABASE three SET TimeZone = 'Asia/Tokyo'; SET TimeZone = 'Asia/Tokyo'; SET check_function_bodies = off;
    CREATE FUNCTION day_of(t timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT t::date';
    CREATE FUNCTION clean(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
    CREATE FUNCTION slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT clean(t)';
    CREATE FUNCTION pinned(t text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = public AS 'SELECT clean(t)';
    CREATE FUNCTION plain(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(btrim(t))';
    CREATE FUNCTION known(n int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.visit WHERE id = n)';
    CREATE FUNCTION atomic(t text) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT clean(t); END;
    CREATE TABLE visit (id int PRIMARY KEY, at timestamptz, note text, n float8, s text GENERATED ALWAYS AS (slug(note)) STORED,
      CHECK (at < now() + interval '100 years'), CHECK (n < 5), CHECK (plain(note) <> 'NO'));
    CREATE DOMAIN seen AS int CHECK (known(VALUE)); CREATE DOMAIN small AS int CHECK (VALUE < 9);
    INSERT INTO visit SELECT n, CASE WHEN n % 5 > 0 THEN '2026-01-01 10:00+00'::timestamptz + n * interval '20 min' END,
      'Note ' || n % 7, n / 100.0 FROM generate_series(1, 300) n;
    CREATE INDEX by_day ON visit (day_of(at)); CREATE INDEX by_two ON visit (slug(note), day_of(at) DESC);
    CREATE INDEX by_hash ON visit USING hash (slug(note)); CREATE INDEX by_gin ON visit USING gin ((ARRAY[slug(note)]));
    CREATE INDEX "Part" ON visit (note) WHERE day_of(at) > '2026-01-02';
    CREATE INDEX by_pinned ON visit (pinned(note)); CREATE INDEX by_plain ON visit (plain(note));
    CREATE INDEX by_atomic ON visit (atomic(note)); CREATE INDEX built_in ON visit (lower(note));
    CREATE MATERIALIZED VIEW daily AS SELECT day_of(at) AS day, count(*) AS n FROM visit GROUP BY 1;
    CREATE TABLE empty_visit (at timestamptz); CREATE INDEX empty_day ON empty_visit (day_of(at));
    """

  /// What goes by settings is named, with what is made by it; what an index finds is compared with its table.
  func indexes(_ servers: TwoServers) async throws {
    func computed(_ session: PostgresSession) async throws -> ComputedValues { try await ComputedValues.read(session) }
    let (known, moving) = try await servers.pair("three") { source, _ in
      let values = try await computed(source)
      return (values, values.movingChecks())
    }
    #expect(
      known.bySettings().map { "\($0.function): \($0.reasons.map(\.words)): \($0.values.map(\.label))" } == [
        "public.day_of(timestamp with time zone): [\"what goes by settings: timestamptz\"]: "
          + "[\"index public.\\\"Part\\\" on public.visit\", \"index public.by_day on public.visit\", "
          + "\"index public.by_two on public.visit\", \"index public.empty_day on public.empty_visit\", "
          + "\"materialized view public.daily\"]",
        "public.slug(text): [\"names without a schema: clean\"]: "
          + "[\"generated column s of public.visit\", \"index public.by_gin on public.visit\", "
          + "\"index public.by_hash on public.visit\", \"index public.by_two on public.visit\"]",
      ])
    #expect(
      moving.map { "\($0.value.label): \($0.reasons.map(\.words))" } == [
        "constraint visit_at_check of public.visit: [\"what changes: now\"]",
        "constraint seen_check of domain public.seen: [\"other rows\"]",
      ])

    func sums() async throws -> [String: [IndexSum?]] {
      let writing = try await WritingSettings.ask(servers.source.parameters("three"))
      #expect(writing.values["TimeZone"] == "Asia/Tokyo")
      return try await servers.pair("three") { source, target in
        var sums: [String: [IndexSum?]] = [:]
        for (oid, label) in known.indexesBySettings {
          let name = String(label.split(separator: " ")[1])
          for session in [source, target] {
            sums[name, default: []].append(try await IndexProof(session: session).sum(of: oid, writing))
          }
        }
        return sums
      }
    }
    let sound = try await sums()
    #expect(
      Set(sound.keys) == [
        "public.\"Part\"", "public.by_day", "public.by_two", "public.empty_day", "public.by_hash", "public.by_gin",
      ])
    for (name, both) in sound {
      #expect(both == (name == "public.by_gin" ? [nil, nil] : [IndexSum(), IndexSum()]), "\(name)")
    }
    // Written under other settings than the database's.
    try await servers.run(
      "target", "three", "SET TimeZone = 'UTC'; UPDATE visit SET n = n + 1 WHERE id BETWEEN 60 AND 200")
    let broken = try await sums()
    #expect(broken["public.by_hash"] == [IndexSum(), IndexSum()])
    #expect(broken["public.by_day"]?[0] == IndexSum())
    for name in ["public.by_day", "public.by_two", "public.\"Part\""] {
      let there = try #require(broken[name]?[1])
      #expect(there.keys > 0, "\(name)")
      let outcome = IndexProof.Outcome(database: "three", label: name, from: broken[name]?[0], to: there)
      #expect(outcome.differs)
      #expect(throws: ConvoyError.self) { try check([outcome], at: .host("here")) }
    }
    // An index that is as stale on both is as good as a copy.
    try await servers.run(
      "source", "three", "SET TimeZone = 'UTC'; UPDATE visit SET n = n + 1 WHERE id BETWEEN 60 AND 200")
    let alike = try await sums()
    #expect(alike["public.by_day"]?[0] == alike["public.by_day"]?[1])
    #expect(alike["public.by_day"]?[0] != IndexSum())
    for name in ["by_day", "by_two", "\"Part\""] { try await servers.run("target", "three", "REINDEX INDEX \(name)") }
    let rebuilt = try await sums()
    for (name, both) in rebuilt where name != "public.by_gin" { #expect(both[1] == IndexSum(), "\(name)") }
  }
}
