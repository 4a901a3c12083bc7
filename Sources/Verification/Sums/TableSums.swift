package import ReplicationModel

/// What a table holds, in two numbers that do not depend on the order of its rows.
///
/// The checksum is the sum of a 64-bit hash of every row, not their exclusive or: two equal rows must not cancel each
/// other out.
package struct TableSum: Sendable, Equatable {
  package var name: RelationName
  package var rows: UInt64
  /// Nil when the rows were only counted.
  var checksum: Int128?
  /// Whether the checksum is that of a sample of the rows.
  var isSample = false

  init(name: RelationName, rows: UInt64, checksum: Int128? = nil) {
    self.name = name
    self.rows = rows
    self.checksum = checksum
  }
}

/// The large objects of a database: who owns them and who may use them, and what they hold.
package struct LargeObjectSums: Sendable, Equatable {
  package var objects: UInt64
  /// Over oid, owner and privileges.
  var objectChecksum: Int128
  /// Rows of pg_largeobject; an object without content has none.
  var pages: UInt64
  var pageChecksum: Int128

  init(objects: UInt64 = 0, objectChecksum: Int128 = 0, pages: UInt64 = 0, pageChecksum: Int128 = 0) {
    self.objects = objects
    self.objectChecksum = objectChecksum
    self.pages = pages
    self.pageChecksum = pageChecksum
  }
}

/// What one side of a database holds.
package struct DatabaseSums: Sendable, Equatable {
  package var database: String
  /// By name, in the order of the names' bytes.
  package let tables: [TableSum]
  /// Tables that are not compared: a physical copy leaves them empty, and their changes are in no stream.
  package var unlogged: [RelationName]
  package var largeObjects: LargeObjectSums
  /// Tables that were not read in full before the budget was spent.
  var unread: [CatalogTable] = []

  init(
    database: String, tables: [TableSum], unlogged: [RelationName] = [], largeObjects: LargeObjectSums = .init()
  ) {
    self.database = database
    self.tables = tables.sorted { $0.name.catalogBytes.lexicographicallyPrecedes($1.name.catalogBytes) }
    self.unlogged = unlogged.sorted { $0.catalogBytes.lexicographicallyPrecedes($1.catalogBytes) }
    self.largeObjects = largeObjects
  }

  /// All tables' rows.
  package var rows: UInt64 { tables.reduce(0) { $0 &+ $1.rows } }

  /// One checksum over names, rows and checksums of all tables, 32 hexadecimal digits; nil when rows were only counted.
  var checksum: String? {
    var hash = FNV128()
    for table in tables {
      guard let checksum = table.checksum else { return nil }
      hash.add(table.name.catalogBytes)
      hash.add(littleEndian: table.rows)
      hash.add(littleEndian: checksum)
    }
    return hexadecimal(hash.value)
  }

  /// Every table that is not the same here and there, by name.
  package func differences(from target: DatabaseSums) -> [TableDifference] {
    var differences: [TableDifference] = []
    var here = tables[...]
    var there = target.tables[...]
    while let left = here.first, let right = there.first {
      let (leftBytes, rightBytes) = (left.name.catalogBytes, right.name.catalogBytes)
      if leftBytes == rightBytes {
        if left.rows != right.rows || left.checksum != right.checksum {
          differences.append(.init(name: left.name, source: left, target: right))
        }
        here.removeFirst()
        there.removeFirst()
      } else if leftBytes.lexicographicallyPrecedes(rightBytes) {
        differences.append(.init(name: left.name, source: left, target: nil))
        here.removeFirst()
      } else {
        differences.append(.init(name: right.name, source: nil, target: right))
        there.removeFirst()
      }
    }
    differences += here.map { .init(name: $0.name, source: $0, target: nil) }
    differences += there.map { .init(name: $0.name, source: nil, target: $0) }
    return differences
  }
}

/// A table that is not the same on both sides.
package struct TableDifference: Sendable, Equatable, CustomStringConvertible {
  package var name: RelationName
  /// Nil when the side has no such table, or has it unlogged.
  package var source: TableSum?
  package var target: TableSum?
  /// Which rows; nil when they were not looked for, or could not be compared.
  package var rows: RowDifferences?

  init(name: RelationName, source: TableSum?, target: TableSum?) {
    self.name = name
    self.source = source
    self.target = target
  }

  /// `public.orders: source 10 rows (checksum …), target 9 rows (checksum …): missing (id)=(7)`, with three keys of
  /// each kind.
  package var description: String {
    let sums = "\(name): source \(Self.words(source)), target \(Self.words(target))"
    guard let rows, rows.count > 0 else { return sums }
    return "\(sums): \(rows.description(most: 3))"
  }

  private static func words(_ sum: TableSum?) -> String {
    guard let sum else { return "has no such table" }
    let rows = "\(sum.rows) row\(sum.rows == 1 ? "" : "s")"
    guard let checksum = sum.checksum else { return rows }
    return rows + " (checksum \(hexadecimal(UInt128(truncatingIfNeeded: checksum))))"
  }
}

extension RelationName {
  /// Both names as the catalog has them. Two names that Unicode holds for the same text, `é` in one scalar and in
  /// two, are two names to PostgreSQL and one `String` to Swift: whoever looks names up compares these.
  var catalogBytes: [UInt8] { Array(schema.utf8) + [0] + Array(name.utf8) }
}

/// 32 digits.
func hexadecimal(_ value: UInt128) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 32 - digits.count) + digits
}

/// The 128-bit FNV-1a hash. It folds sums that are hashes already into one number to show; nothing is decided by it.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
struct FNV128 {
  private(set) var value: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d

  mutating func add(_ bytes: some Sequence<UInt8>) {
    for byte in bytes {
      value ^= UInt128(byte)
      value = value &* 0x0000_0000_0100_0000_0000_0000_0000_013b
    }
  }

  mutating func add(littleEndian number: some FixedWidthInteger) {
    withUnsafeBytes(of: number.littleEndian) { add($0) }
  }
}
