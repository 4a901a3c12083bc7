/// A schema-qualified relation, names as they stand in the catalog: unquoted, case as stored.
public struct RelationName: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public var schema: String
  public var name: String

  public init(schema: String, name: String) {
    self.schema = schema
    self.name = name
  }

  /// The name as SQL takes it, both parts quoted: `"public"."order ""x"""`.
  public var quoted: String {
    quotedIdentifier(schema) + "." + quotedIdentifier(name)
  }

  public var description: String { schema + "." + name }

  public static func < (left: RelationName, right: RelationName) -> Bool {
    (left.schema, left.name) < (right.schema, right.name)
  }
}

extension RelationName {
  /// The table that holds the record of migrations, in the maintenance database of each server. Every server has rows of its
  /// own there: they are no data, and travel nowhere.
  public static let serverRecord = RelationName(schema: "pgconvoy_record", name: "migration")
}

/// An SQL identifier, always in double quotes, inner ones doubled.
/// <https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
public func quotedIdentifier(_ name: String) -> String {
  "\"" + name.replacingAll("\"", with: "\"\"") + "\""
}

/// An SQL string constant. Takes the `E''` form when a backslash is inside, so that it reads the same whatever
/// `standard_conforming_strings` says. Only for statements that take no parameters (utility commands).
public func quotedLiteral(_ text: String) -> String {
  let doubled = text.replacingAll("'", with: "''")
  guard text.utf8.contains(UInt8(ascii: "\\")) else { return "'" + doubled + "'" }
  return " E'" + doubled.replacingAll("\\", with: "\\\\") + "'"
}

extension String {
  /// By scalars, not by characters: a quote with a combining mark behind it is one `Character`, but still a quote to
  /// the server.
  fileprivate func replacingAll(_ scalar: Unicode.Scalar, with replacement: String) -> String {
    guard unicodeScalars.contains(scalar) else { return self }
    var result = ""
    result.reserveCapacity(utf8.count + 8)
    for next in unicodeScalars {
      if next == scalar { result += replacement } else { result.unicodeScalars.append(next) }
    }
    return result
  }
}

/// The name of a replication slot: 1 to 63 of `a-z`, `0-9` and `_`, PostgreSQL's own rule.
/// <https://www.postgresql.org/docs/15/warm-standby.html#STREAMING-REPLICATION-SLOTS>
public struct SlotName: Hashable, Sendable, Codable, CustomStringConvertible {
  public let text: String

  /// Nil when PostgreSQL would refuse the name.
  public init?(_ text: String) {
    let allowed = text.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || byte == UInt8(ascii: "_")
    }
    guard allowed, (1...63).contains(text.utf8.count) else { return nil }
    self.text = text
  }

  public var description: String { text }
}

/// The names that one hand-off gives to everything it makes on the two servers.
///
/// All of them carry the hand-off's nonce: a slot or origin with that nonce can only be ours and only of this
/// hand-off, which makes the names part of the server identity check (a physical copy has its source's system
/// identifier, but neither its slots nor the origins that are made after its promotion).
public struct HandOffNames: Hashable, Sendable, Codable {
  /// Twelve hexadecimal digits, random for each hand-off.
  public let nonce: String

  public init(nonce: String) {
    self.nonce = nonce
  }

  public static func random() -> HandOffNames {
    let value = UInt64.random(in: 0...0xFFFF_FFFF_FFFF)
    let digits = String(value, radix: 16)
    return HandOffNames(nonce: String(repeating: "0", count: 12 - digits.count) + digits)
  }

  /// The physical slot that keeps WAL for the base backup and the standby.
  public var physicalSlot: String { "pgconvoy_\(nonce)_physical" }
  /// The restore point that recovery stops at.
  public var restorePoint: String { "pgconvoy_\(nonce)" }
  /// The schema that holds what refuses DDL on the source.
  public var freezeSchema: String { "pgconvoy_\(nonce)_freeze" }
  /// The schema of what writes statements down on the source, for `ddl: replicate`.
  public var statementSchema: String { "pgconvoy_\(nonce)_ddl" }
  /// The logical slot of one database on the source.
  public func slot(databaseOID: UInt32) -> String { "pgconvoy_\(nonce)_\(databaseOID)" }
  /// The replication origin of one database on the target.
  public func origin(databaseOID: UInt32) -> String { "pgconvoy_\(nonce)_\(databaseOID)" }
  /// The origin beside one of these, whatever the direction, of the worker's second session. It may be further than the
  /// first one while a worker is behind, or after one that was killed.
  public static func secondOrigin(beside origin: String) -> String { origin + "_2" }
  /// The logical slot of one database on the target, for the way back.
  public func reverseSlot(databaseOID: UInt32) -> String { "pgconvoy_\(nonce)_\(databaseOID)_reverse" }
  /// The replication origin of one database on the source, for the way back.
  public func reverseOrigin(databaseOID: UInt32) -> String { "pgconvoy_\(nonce)_\(databaseOID)_reverse" }
}
