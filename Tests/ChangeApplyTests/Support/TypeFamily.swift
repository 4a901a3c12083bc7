import Testing

/// Column types of one kind, with values that are easy to get wrong.
struct TypeFamily: Sendable, CustomTestStringConvertible {
  struct Column: Sendable {
    var type: String
    var values: [String]
    /// Where `type[]` is no array type.
    var arrayType: String?

    init(_ type: String, _ values: [String], arrayType: String? = nil) {
      self.type = type
      self.values = values
      self.arrayType = arrayType
    }
  }

  var name: String
  var columns: [Column]
  var testDescription: String { name }

  static let all: [TypeFamily] = [
    .init(
      name: "numbers",
      columns: [
        .init("smallint", ["-32768", "NULL"]), .init("bigint", ["-9223372036854775808", "0"]),
        .init("numeric", ["'NaN'", "'Infinity'", "1e-30", "12345678901234567890.1200", "-0.0"]),
        .init("numeric(10,2)", ["1.005", "-99999999.99"]), .init("real", ["1.1", "3.4e38", "'-Infinity'", "1e-45"]),
        .init("double precision", ["0.1", "1e300", "'NaN'", "-0.0", "5e-324"]),
        .init("money", ["'-$1,234.56'", "0"]), .init("oid", ["4294967295"]),
      ]),
    .init(
      name: "text",
      columns: [
        .init("text", ["''", "'null'", "'it''s \\'", "E'a\\nb\\r\\t\\u0001'", "repeat('é🐘', 3000)", "' '"]),
        .init("char(5)", ["'ab'", "''", "'abcde'"]), .init("varchar(3)", ["'abc'", "'  '"]),
        .init("bpchar", ["'ab  '", "''"]), .init("\"char\"", ["'x'", "''", "''''"]),
        .init("name", ["'a\"b'"]), .init("xml", ["'<a b=\"c\">''</a>'", "'no element'"]),
      ]),
    .init(
      name: "bits",
      columns: [
        .init("bit(3)", ["'101'", "'000'"]), .init("varbit", ["''", "'1'", "repeat('10', 40)::varbit"]),
        .init("bit", ["'1'"]), .init("bytea", ["''", "'\\x00ff2227'", "'\\xdeadbeef'"]),
        .init("boolean", ["true", "false"]),
      ]),
    .init(
      name: "times",
      columns: [
        .init("timestamptz", ["'infinity'", "'2000-02-29 23:59:59.123456+05:30'", "'0044-03-15 BC'"]),
        .init("timestamp(3)", ["'-infinity'", "'1999-12-31 23:59:59.9996'"]),
        .init("date", ["'infinity'", "'4713-01-01 BC'"]),
        .init("time", ["'24:00'"]), .init("timetz", ["'12:00:00.5+14'"]),
        .init("interval", ["'-1 year -2 days +03:04:05.6'", "'1 mon -1 sec'", "'0'"]),
        .init("interval day to second(2)", ["'1 day 00:00:01.239'"]),
      ]),
    .init(
      name: "own types",
      columns: [
        .init("mood", ["'sad'", "'it''s, \"ok\"'"]), .init("pair", ["(1, 'a\"b,c)')", "(NULL, '')", "(NULL, NULL)"]),
        .init("positive", ["1"]), .init("word", ["'ab'", "''"]), .init("numbers", ["'{1,NULL}'"], arrayType: "numbers"),
        .init("pair[]", ["ARRAY[(1, 'x')::pair, NULL]"], arrayType: "int"),
      ]),
    .init(
      name: "documents and others",
      columns: [
        .init("json", ["'{\"a\":  [1, \"it''s\"]}'", "'null'"]), .init("jsonb", ["'{\"b\": 1.10, \"a\": null}'"]),
        .init("jsonpath", ["'$.a[*] ? (@ > 1)'"]), .init("uuid", ["'00000000-0000-0000-0000-0000000000ff'"]),
        .init("inet", ["'::1'", "'10.0.0.1/8'"]), .init("cidr", ["'10.0.0.0/8'"]),
        .init("macaddr", ["'08:00:2b:01:02:03'"]),
        .init("macaddr8", ["'08:00:2b:01:02:03:04:05'"]), .init("tsvector", ["'a:1A ''it''''s'':2'"]),
        .init("tsquery", ["'a & !b | ''c d'''"]), .init("int4range", ["'[1,5)'", "'empty'", "'(,)'"]),
        .init("tstzrange", ["'[2000-01-01,infinity]'"]), .init("int8multirange", ["'{[1,2),[5,9)}'"]),
        .init("point", ["'(0.1,-0)'"]), .init("box", ["'(1,2),(0,0)'"], arrayType: "box"),
        .init("polygon", ["'((0,0),(1,1),(1,0))'"]),
        .init("path", ["'[(0,0),(1,1)]'"]), .init("circle", ["'<(1,2),3>'"]), .init("line", ["'{1,2,3}'"]),
        .init("lseg", ["'[(0,0),(1,1)]'"]), .init("pg_lsn", ["'1/ABCDEF'"]), .init("pg_snapshot", ["'10:20:10,14'"]),
        .init("xid", ["'5'"]), .init("xid8", ["'5000000000'"]), .init("regclass", ["'pg_class'", "'keyed0'"]),
        .init("regtype", ["'int[]'"]), .init("regprocedure", ["'now()'"]),
        .init("int2vector", ["'1 2'"], arrayType: "int"),
      ]),
  ]
}
