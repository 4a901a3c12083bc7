import TestSupport

/// A column type with a source of values for it, as the type's input function reads them.
struct ValueType: Sendable {
  /// As a column definition spells it.
  var sql: String
  /// Whether values of it can be a key: btree knows the type, and its values are short.
  var canBeKey: Bool
  /// What separates the elements of an array of it.
  var delimiter: Character = ","
  var value: @Sendable (inout SeededRandom) -> String

  init(
    _ sql: String, key: Bool = false, delimiter: Character = ",",
    _ value: @escaping @Sendable (inout SeededRandom) -> String
  ) {
    self.sql = sql
    canBeKey = key
    self.delimiter = delimiter
    self.value = value
  }

  /// One of the texts.
  init(_ sql: String, key: Bool = false, delimiter: Character = ",", of values: [String]) {
    self.init(sql, key: key, delimiter: delimiter) { $0.pick(values) }
  }

  /// The array type of this one: empty, with nulls, of two dimensions, with other bounds.
  var array: ValueType {
    let element = value
    let delimiter = String(delimiter)
    return ValueType(sql + "[]") { random in
      func elements(_ count: Int) -> String {
        (0..<count).map { _ in random.one(in: 6) ? "NULL" : quotedElement(element(&random)) }
          .joined(separator: delimiter)
      }
      switch random.int(0...6) {
      case 0: return "{}"
      case 1: return "{{\(elements(2))}\(delimiter){\(elements(2))}}"
      case 2: return "[3:4]={\(elements(2))}"
      default: return "{\(elements(random.int(1...4)))}"
      }
    }
  }
}

private func oneRange(_ random: inout SeededRandom, _ pair: (String, String)) -> String {
  if random.one(in: 8) { return "empty" }
  let low = random.one(in: 6) ? "" : quotedElement(pair.0)
  let high = random.one(in: 6) ? "" : quotedElement(pair.1)
  return (random.one(in: 2) ? "[" : "(") + low + "," + high + (random.one(in: 2) ? "]" : ")")
}

/// As an element of an array, a bound of a range or a field of a composite.
func quotedElement(_ text: String) -> String {
  var quoted = "\""
  for character in text.unicodeScalars {
    if character == "\"" || character == "\\" { quoted += "\\" }
    quoted.unicodeScalars.append(character)
  }
  return quoted + "\""
}

/// Texts that other readers of test_decoding stumble over, and ordinary ones.
let awkwardTexts = [
  "", " ", "a", "null", "NULL", "'null'", "true", "unchanged-toast-datum", "it's", "''", "'", "\"", "\\", "\\'", "\\N",
  "\\.", "a\tb", "line\nfeed", "\r\n", "]:", "x]:'y'", " new-tuple: a[integer]:1", " old-key: ", "a' b[text]:'c",
  "table public.t: INSERT: a[integer]:1", "COMMIT 5", "BEGIN", "{a,b}", "{\"a\"}", "(1,2)", "$1", "%s", "größe", "日本語",
  "e\u{301}", "🐘", "👩‍👩‍👧‍👦", "\u{feff}", "\u{1}", "\u{7f}", "x ", " x", "B'101'", "--", "/*", ";", "E'\\n'",
]

func randomText(_ random: inout SeededRandom) -> String {
  switch random.int(0...9) {
  case 0...4: return random.pick(awkwardTexts)
  case 5, 6: return "t\(random.int(0...40))"
  case 7: return (0..<random.int(1...4)).map { _ in random.pick(awkwardTexts) }.joined()
  case 8: return String(repeating: random.pick(awkwardTexts), count: random.int(1...30))
  default:
    return String((0..<random.int(1...12)).map { _ in Character(UnicodeScalar(UInt8(random.int(32...126)))) })
  }
}

func digits(_ random: inout SeededRandom, _ count: Int) -> String {
  (0..<count).map { _ in String(random.int(0...9)) }.joined()
}

private func bits(_ random: inout SeededRandom, _ count: Int) -> String {
  (0..<count).map { _ in String(random.int(0...1)) }.joined()
}

private func hexadecimal(_ random: inout SeededRandom, _ count: Int) -> String {
  (0..<count).map { _ in String(random.int(0...15), radix: 16) }.joined()
}

private let integers = ["0", "1", "-1", "7", "42", "100", "32767", "-32768"]
private let floats = [
  "0", "-0", "1", "-1.5", "NaN", "Infinity", "-Infinity", "1e-30", "1.1", "0.1", "123456.789", "1e+20", "3.4028235e+38",
]
private let numerics = [
  "0", "1", "1.0", "1.00", "1.000", "-0.00", "NaN", "99999999999999999999.999", "0.000000000000000000001", "12.5",
  "12.50", "-7", "1e-10", "100", "100.0",
]
private let dates = [
  "2024-02-29", "0044-03-15 BC", "infinity", "-infinity", "1582-10-15", "9999-12-31", "5874897-12-31",
  "4713-01-01 BC", "2000-01-01",
]
private let timestamps = [
  "2024-02-29 23:59:59.999999", "0044-03-15 12:00:00 BC", "infinity", "-infinity", "2000-01-01 00:00:00",
  "294276-12-31 23:59:59.5", "2026-11-23 05:01:12.345", "1900-01-01 00:00:00.000001",
]
private let intervals = [
  "0", "1 year 2 mons", "-1 mons +3 days -04:05:06", "1 day -00:00:00.000001", "178000000 years", "3 days 04:05:06.7",
  "-1 years -2 mons -3 days -04:05:06.789", "100000:00:00", "P1Y2M3DT4H5M6S",
]
private let points = ["(0,0)", "(1.5,-2)", "(NaN,Infinity)", "(-0,1e-307)", "(0.1,0.2)"]
private let documents = [
  "{}", "[]", "null", "1", "\"it's\"", "{\"a\": [1, 2.50, null], \"b\": {\"c\": \"\\\"\"}}", "{\"a\":1,\"a\":2}",
  "[1e5, -0.0, \"\\ud83d\\udc18\"]", " { \"spaces\" : true } ", "\"]: new-tuple: \"",
]

/// Every built-in type that a column can have, in the server's default build; xml and what extensions bring are added
/// where the server has them.
let builtInTypes: [ValueType] = [
  ValueType("smallint", key: true, of: integers),
  ValueType("integer", key: true, of: integers + ["2147483647", "-2147483648"]),
  ValueType("bigint", key: true, of: integers + ["9223372036854775807", "-9223372036854775808"]),
  ValueType("numeric", key: true, of: numerics),
  ValueType("numeric(8,2)", key: true, of: ["0", "1", "1.005", "-999999.99", "NaN", "12.5"]),
  ValueType("real", key: true, of: floats),
  ValueType("double precision", key: true, of: floats + ["1e-307", "1.7976931348623157e+308", "5e-324"]),
  ValueType("money", key: true, of: ["0", "1.50", "-2.25", "92233720368547758.07", "-92233720368547758.08"]),
  ValueType("boolean", key: true, of: ["true", "false"]),
  ValueType("text", key: true) { randomText(&$0) },
  ValueType("character varying", key: true) { randomText(&$0) },
  ValueType("character varying(6)", key: true) { String(randomText(&$0).unicodeScalars.prefix(6).map(Character.init)) },
  ValueType("character(5)", key: true, of: ["", "a", "a  ", "ab'c", "12345", "é", "日本", "🐘", "]:", "\\"]),
  ValueType("character", key: true, of: ["", "a", "'", "\\", "é"]),
  ValueType("bpchar", of: ["", "a", "a  ", "it's   ", "日本  "]),
  ValueType("name", key: true, of: ["", "a", "Name", "it's", "日本", "a b"]),
  ValueType("\"char\"", key: true, of: ["a", "'", "\\", "", " ", "\""]),
  ValueType("bytea", key: true) { "\\x" + hexadecimal(&$0, 2 * $0.int(0...20)) },
  ValueType("bit(4)", key: true) { bits(&$0, 4) },
  ValueType("bit varying(9)", key: true) { bits(&$0, $0.int(0...9)) },
  ValueType("bit varying") { bits(&$0, $0.int(0...70)) },
  ValueType("date", key: true, of: dates),
  ValueType("time", key: true, of: ["00:00:00", "24:00:00", "12:34:56.789012"]),
  ValueType("time(2) with time zone", key: true, of: ["00:00:00+00", "12:34:56.789-03:30", "24:00:00+14"]),
  ValueType("timestamp", key: true, of: timestamps),
  ValueType("timestamp(2)", key: true, of: timestamps),
  ValueType("timestamp with time zone", key: true, of: timestamps + ["2024-06-01 12:00:00+05:45"]),
  ValueType("interval", key: true, of: intervals),
  ValueType("interval day to second(2)", of: ["3 days 04:05:06.789", "0", "-1 days +00:00:01"]),
  ValueType("uuid", key: true) { random in
    let hex = hexadecimal(&random, 32)
    return random.one(in: 3) ? "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" : hex
  },
  ValueType("json", of: documents),
  ValueType("jsonb", key: true, of: documents),
  ValueType("jsonpath", of: ["$", "$.a[*] ? (@ > 1)", "$.\"it's\"", "strict $.a"]),
  ValueType("point", of: points),
  ValueType("line", of: ["{1,2,3}", "{0,-1,0.1}", "[(0,0),(1,1)]"]),
  ValueType("lseg", of: ["[(0,0),(1,1)]", "[(1.5,-2),(0.1,1e-300)]"]),
  ValueType("box", delimiter: ";", of: ["(1,1),(0,0)", "(0.1,0.2),(-3,-4)", "(Infinity,1),(0,0)"]),
  ValueType("path", of: ["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"]),
  ValueType("polygon", of: ["((0,0),(1,1),(2,0))", "((0.1,0.2))"]),
  ValueType("circle", of: ["<(0,0),1>", "<(1.5,-2),0.1>"]),
  ValueType("inet", key: true, of: ["10.0.0.1", "10.0.0.1/8", "::1", "2001:db8::/32", "10.0.0.1/32"]),
  ValueType("cidr", key: true, of: ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"]),
  ValueType("macaddr", key: true, of: ["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"]),
  ValueType("macaddr8", key: true, of: ["08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03"]),
  ValueType("tsvector", key: true, of: ["", "a:1A,2B fat:3", "'it''s' b", "'\\\\' x:5"]),
  ValueType("tsquery", of: ["a & b", "!a | (b <-> c:*)", "'it''s'", ""]),
  ValueType("pg_lsn", key: true, of: ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]),
  ValueType("oid", key: true, of: ["0", "1259", "4294967295"]),
  ValueType("xid", of: ["0", "3", "4294967295"]),
  ValueType("xid8", key: true, of: ["0", "18446744073709551615"]),
  ValueType("cid", of: ["0", "7"]),
  ValueType("tid", key: true, of: ["(0,0)", "(4294967295,65535)"]),
  ValueType("pg_snapshot", of: ["10:20:10,14,15", "1:1:"]),
  ValueType("regclass", of: ["pg_class", "pg_catalog.pg_type", "987654", "-"]),
  ValueType("regtype", of: ["integer", "text[]", "pg_catalog.\"char\"", "987654"]),
  ValueType("regproc", of: ["now", "987654", "-"]),
  ValueType("regprocedure", of: ["pg_catalog.lower(text)", "-"]),
  ValueType("regoperator", of: ["=(integer,integer)", "0"]),
  ValueType("regnamespace", of: ["pg_catalog", "987654"]),
  ValueType("int2vector", of: ["", "1 2 3"]),
  ValueType("oidvector", key: true, of: ["", "1 2 3"]),
  ValueType("refcursor", of: ["", "cursor 'a'"]),
  ValueType("aclitem", of: ["=r/postgres", "postgres=arwdDxt/postgres"]),
  rangeType("int4range", integerPairs), rangeType("int8range", integerPairs),
  rangeType("numrange", [("1.0", "1.00"), ("-1", "7.50"), ("0.1", "0.2")]),
  rangeType("daterange", [("0044-03-15 BC", "2024-02-29"), ("2000-01-01", "infinity")]),
  rangeType("tsrange", timestampPairs), rangeType("tstzrange", timestampPairs),
  multirangeType("int4multirange", integerPairs), multirangeType("int8multirange", integerPairs),
  multirangeType("nummultirange", [("1.0", "1.00"), ("-1", "7.50")]),
  multirangeType("datemultirange", [("2000-01-01", "2024-02-29")]),
  multirangeType("tsmultirange", timestampPairs), multirangeType("tstzmultirange", timestampPairs),
]

private let integerPairs = [("-5", "3"), ("1", "1"), ("7", "100"), ("0", "2147483646")]
private let timestampPairs = [
  ("0044-03-15 12:00:00 BC", "2024-02-29 23:59:59.999999"), ("2000-01-01 00:00:00", "infinity"),
  ("-infinity", "2000-01-01 00:00:00"),
]

func rangeType(_ sql: String, _ pairs: [(String, String)]) -> ValueType {
  ValueType(sql, key: true) { random in oneRange(&random, random.pick(pairs)) }
}

func multirangeType(_ sql: String, _ pairs: [(String, String)]) -> ValueType {
  ValueType(sql, key: true) { random in
    "{" + (0..<random.int(0...3)).map { _ in oneRange(&random, random.pick(pairs)) }.joined(separator: ",") + "}"
  }
}
