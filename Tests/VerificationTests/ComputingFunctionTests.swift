import Testing

@testable import Verification

@Suite("Functions that go by more than their arguments")
struct ComputingFunctionTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var body: String
    var types = "t text text"
    var settings = ""
    var isBound = false
    var expected: [String]
    var testDescription: String { body }
  }

  /// `clean`, `far` and the table's own function are in the database too; `cube` is a function in C, `citext` a type.
  static let cases = [
    Case(body: "SELECT lower(btrim($1))", expected: []),
    Case(body: "SELECT clean($1)", expected: ["names without a schema: clean"]),
    Case(body: "SELECT public.clean($1)", expected: []),
    Case(body: "SELECT \"public\".\"clean\" ($1)", expected: []),
    Case(body: "SELECT clean($1)", settings: "search_path=public", expected: []),
    Case(body: "SELECT clean($1)", isBound: true, expected: []),
    Case(body: "SELECT cube(1)::text || $1::citext", expected: ["names without a schema: citext, cube"]),
    Case(body: "SELECT public.far($1)", expected: ["names without a schema: clean"]),
    Case(body: "SELECT public.far($1)", settings: "search_path=public, pg_temp", expected: []),
    Case(
      body: "SELECT t::date", types: "t timestamp with time zone date", expected: ["what goes by settings: timestamptz"]
    ),
    Case(body: "SELECT t::date", types: "t timestamp with time zone date", settings: "TimeZone=UTC", expected: []),
    Case(body: "SELECT t::text", types: "t date text", expected: ["what goes by settings: date"]),
    Case(body: "SELECT extract(year FROM t)", types: "t date numeric", expected: []),
    Case(body: "SELECT to_tsvector($1)", types: "t text tsvector", expected: ["what goes by settings: to_tsvector"]),
    Case(body: "SELECT $1 IS DISTINCT FROM other", expected: []),
    Case(body: "BEGIN SELECT 1 INTO n; RETURN n > 0; END", expected: []),
    Case(body: "SELECT now() > $1", types: "t date boolean", expected: ["what changes: now"]),
    Case(
      body: "BEGIN RETURN EXISTS (SELECT FROM Orders WHERE id = n); END", types: "n integer boolean",
      expected: ["names without a schema: orders", "other rows"]),
    Case(body: "SELECT count(*) FROM shop.orders", types: "n integer bigint", expected: ["other rows"]),
  ]

  @Test(arguments: cases)
  func judgedByItsText(_ example: Case) {
    func function(_ name: String, _ body: String, _ example: Case? = nil) -> ComputingFunction {
      ComputingFunction(
        signature: "public.\(name)(text)", name: name, language: "sql", body: body,
        types: example?.types ?? "t text text", settings: example?.settings ?? "",
        hasBoundBody: example?.isBound ?? false)
    }
    let functions = [
      1: function("judged", example.body, example), 2: function("clean", "SELECT lower($1)"),
      3: function("far", "SELECT clean($1)"),
    ]
    let judge = ComputingJudge(
      Dictionary(uniqueKeysWithValues: functions.map { (UInt32($0.key), $0.value) }), otherNames: ["cube", "citext"])
    #expect(judge.reasons(of: 1).map(\.words) == example.expected)
  }

  @Test func anotherLanguageIsNotRead() {
    let function = ComputingFunction(
      signature: "public.f(text)", name: "f", language: "plpython3u", body: "return t", types: "t text text")
    let reasons = ComputingJudge([1: function]).reasons(of: 1)
    #expect(reasons == [.language("plpython3u")])
    #expect(reasons.allSatisfy { $0.isOfSettings && $0.isOfTheMoment })
  }

  @Test func aKeyThatIsNullIsLookedUpAsNull() {
    let definition = IndexProof.Definition(
      name: "i", table: "public.t",
      keys: [("(public.f(a))", "OPERATOR(pg_catalog.=)"), ("(b)", "OPERATOR(public.=)")], predicate: "c")
    let hash = RowHash.sum(RowHash.expression)
    #expect(
      definition.statement(nulls: [false, true]) == """
        SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(a.pgconvoy_n - b.pgconvoy_n), 0),
               coalesce(pg_catalog.sum(a.pgconvoy_h - b.pgconvoy_h), 0)
          FROM (SELECT ((public.f(a))) AS pgconvoy_0, pg_catalog.count(*) AS pgconvoy_n, \(hash) AS pgconvoy_h \
        FROM ONLY public.t AS t TABLESAMPLE pg_catalog.system (100)
                 WHERE (c) AND ((public.f(a))) IS NOT NULL AND ((b)) IS NULL GROUP BY 1) AS a,
               LATERAL (SELECT pg_catalog.count(*) AS pgconvoy_n, \(hash) AS pgconvoy_h FROM ONLY public.t AS t
                         WHERE (c) AND ((public.f(a))) OPERATOR(pg_catalog.=) a.pgconvoy_0 AND ((b)) IS NULL) AS b
         WHERE a.pgconvoy_n OPERATOR(pg_catalog.<>) b.pgconvoy_n OR a.pgconvoy_h OPERATOR(pg_catalog.<>) b.pgconvoy_h
        """)
  }
}
