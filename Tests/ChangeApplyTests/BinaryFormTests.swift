import PostgresClient
import TestSupport
import Testing

@testable import ChangeApply

/// A value's binary form must be what the server itself would have made of its text.
@Suite(.cluster) struct BinaryFormTests {
  /// Text as the stream has it, by type. Those behind `!` have no binary form of ours.
  private static let values: [(type: String, oid: UInt32, texts: [String])] = [
    ("bool", 16, ["t", "f", "true", "false", "!yes", "!", "!T"]),
    ("int2", 21, ["0", "-32768", "32767", "!32768", "!1.0"]),
    ("int4", 23, ["0", "-2147483648", "2147483647", "!2147483648", "!"]),
    ("int8", 20, ["0", "-9223372036854775808", "9223372036854775807", "!9223372036854775808"]),
    ("oid", 26, ["0", "4294967295", "!4294967296", "!-1"]),
    (
      "float4", 700,
      [
        "0", "-0", "1.5", "-1e-45", "3.4028235e+38", "1e-38", "0.1", "!NaN", "!Infinity", "!1e39", "!", "!0x10",
        "!1.5 ",
      ]
    ),
    (
      "float8", 701,
      [
        "0", "-0", "0.1", "1.7976931348623157e+308", "5e-324", "2.2250738585072014e-308", "123456789.123456789",
        "9007199254740993", "!NaN", "!-Infinity", "!1e309", "!1,5",
      ]
    ),
    (
      "numeric", 1700,
      [
        "0", "0.00", "1", "-1", "1.50", "12345", "10000", "100000000", "0.0001", "0.00010", "0.00001",
        "-0.000000000001", "9999.9999", "99999999999999999999999999.000000000100", "10000.0001", "1234567890123",
        "-100", "123.4500", "0.1", "1000000000000000000000000000000000000", "3.14159265358979323846264338327950288",
        "!NaN", "!Infinity", "!-Infinity", "!1e5", "!", "!-", "!.5", "!5.", "!1.2.3", "!+1",
      ]
    ),
    (
      "date", 1082,
      [
        "2000-01-01", "1999-12-31", "2000-02-29", "1900-02-28", "0001-01-01", "9999-12-31", "2026-11-27",
        "!0044-03-15 BC", "!infinity", "!-infinity", "!10000-01-01", "!2026-13-01", "!2026-02-30", "!0000-01-01",
        "!2026-1-1",
      ]
    ),
    ("time", 1083, ["00:00:00", "23:59:59.999999", "24:00:00", "08:30:00.5", "!25:00:00", "!24:00:01", "!08:00"]),
    (
      "timestamp", 1114,
      [
        "2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999",
        "2026-11-27 03:04:05.06", "2024-02-29 12:00:00.000001", "!infinity", "!0044-03-15 00:00:00 BC",
        "!10000-01-01 00:00:00", "!2026-11-27 24:00:00", "!2026-11-27", "!2026-11-27 03:04:05.", "!2026-11-27T03:04:05",
        "!2026-11-27 03:04:05+00",
      ]
    ),
    (
      "timestamptz", 1184,
      [
        "2000-01-01 00:00:00+00", "1999-12-31 23:59:59.999999+00", "2026-11-27 03:04:05.06+00", "!-infinity",
        "!2026-11-27 03:04:05", "!2026-11-27 03:04:05+01", "!2026-11-27 03:04:05+00:30",
        "!0044-03-15 00:00:00+00 BC", "!2026-11-27 03:04:05.1234567+00",
      ]
    ),
    (
      "uuid", 2950,
      [
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000",
        "!a0eebc999c0b4ef8bb6d6bb9bd380a11", "!a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
        "!a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111", "!a0eebc99x9c0b-4ef8-bb6d-6bb9bd380a11",
      ]
    ),
    ("bytea", 17, ["\\x", "\\x00ff", "\\xdeadbeef", "!\\x0", "!\\xzz", "!abc", "!"]),
    ("text", 25, ["", "a", "tab\tand \"quotes\" 'n \\ all", "ünïcode 🐘"]),
    ("varchar", 1043, ["", "a"]), ("bpchar", 1042, ["", "a  "]), ("name", 19, ["pg_class"]),
    ("json", 114, [#"{"a": [1, null]}"#]), ("jsonb", 3802, [#"{"a": [1, null]}"#, "1"]),
  ]

  /// The form with its length, or nil.
  private func form(_ text: String, _ oid: UInt32) throws -> [UInt8]? {
    let form = try #require(BinaryForm(type: oid))
    var bytes = ByteWriter()
    bytes.append(UInt8(7))
    let isWritten = Array(text.utf8).withUnsafeBytes { form.append($0, to: &bytes) }
    #expect(isWritten || bytes.count == 1, "\(text): what has no form leaves nothing behind")
    return isWritten ? Array(bytes.bytes.dropFirst()) : nil
  }

  @Test func theServerMakesTheSameOfTheText() throws {
    let connection = try session()
    for (type, oid, texts) in Self.values {
      for text in texts {
        if text.hasPrefix("!") {
          #expect(try form(String(text.dropFirst()), oid) == nil, "\(type): \(text)")
          continue
        }
        let sent = try #require(
          try connection.query("SELECT encode(\(sender(type))($1::\(type)), 'hex')", [text]).first)
        let expected = try #require(try form(text, oid), "\(type): \(text)")
        #expect(hexadecimal(expected.dropFirst(4)) == sent, "\(type): \(text)")
        #expect(hexadecimal(expected.prefix(4)) == String(format8(sent.count / 2)), "\(type): \(text)")
      }
    }
  }

  /// Random values, as the server prints them under the settings of the stream.
  @Test func randomValuesOfTheServer() throws {
    let connection = try session()
    let expressions: [(type: String, oid: UInt32, value: String)] = [
      ("numeric", 1700, "((random() - 0.5) * 10 ^ (random() * 30 - 10))::numeric"),
      ("numeric", 1700, "round((random() * 10 ^ (random() * 20))::numeric, (random() * 12)::integer)"),
      ("float8", 701, "(random() - 0.5) * 10 ^ (random() * 600 - 300)"),
      ("float4", 700, "((random() - 0.5) * 10 ^ (random() * 60 - 30))::real"),
      ("date", 1082, "date '0001-01-01' + (random() * 3652000)::integer"),
      ("timestamp", 1114, "timestamp '0001-01-01' + random() * 3652000 * interval '1 day'"),
      ("timestamptz", 1184, "timestamptz '1990-01-01 00:00:00+00' + random() * 20000 * interval '1 day'"),
      ("time", 1083, "time '00:00' + random() * interval '1 day'"),
      ("uuid", 2950, "gen_random_uuid()"), ("int8", 20, "((random() - 0.5) * 1.8e19)::int8"),
    ]
    for (type, oid, value) in expressions {
      let rows = try connection.query(
        """
        SELECT v::text, encode(\(sender(type))(v), 'hex') FROM (SELECT (\(value))::\(type) AS v
          FROM generate_series(1, 2000) OFFSET 0) AS s
        """
      ).rows
      #expect(rows.count == 2000)
      for row in rows {
        let bytes = try form(row.string(0), oid).map { hexadecimal($0.dropFirst(4)) }
        #expect(bytes == row.string(1), "\(type): \(row.string(0))")
      }
    }
  }

  private func session() throws -> PostgresConnection {
    var parameters = try #require(Cluster.current).parameters("postgres")
    parameters.settings = canonicalTextSettings
    return try PostgresConnection.connect(parameters)
  }

  private func sender(_ type: String) -> String {
    switch type {
    case "timestamp", "timestamptz", "date", "time", "numeric", "uuid", "json", "jsonb": "\(type)_send"
    default: "\(type)send"
    }
  }

  private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef")
    return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  private func format8(_ count: Int) -> String {
    let digits = String(count, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
