import ReplicationModel
import Testing

@testable import MigrationCore
@testable import Verification

private func sum(_ name: String, _ rows: UInt64 = 1, _ checksum: Int128? = 1) -> TableSum {
  TableSum(name: RelationName(schema: "s", name: name), rows: rows, checksum: checksum)
}

@Suite("Sums of tables")
struct TableSumsTests {
  @Test func tablesAreComparedByName() {
    let source = DatabaseSums(database: "d", tables: [sum("c"), sum("a"), sum("b", 2, -1), sum("e")])
    let target = DatabaseSums(database: "d", tables: [sum("b", 2, 1), sum("a"), sum("d"), sum("e", 3)])
    #expect(
      source.differences(from: target).map(\.description) == [
        "s.b: source 2 rows (checksum ffffffffffffffffffffffffffffffff), "
          + "target 2 rows (checksum 00000000000000000000000000000001)",
        "s.c: source 1 row (checksum 00000000000000000000000000000001), target has no such table",
        "s.d: source has no such table, target 1 row (checksum 00000000000000000000000000000001)",
        "s.e: source 1 row (checksum 00000000000000000000000000000001), "
          + "target 3 rows (checksum 00000000000000000000000000000001)",
      ])
    #expect(source.differences(from: source) == [])
  }

  @Test func namesThatUnicodeHoldsForTheSameAreTwo() {
    let both = DatabaseSums(database: "d", tables: [sum("caf\u{e9}", 1), sum("cafe\u{301}", 2)])
    let swapped = DatabaseSums(database: "d", tables: [sum("caf\u{e9}", 2), sum("cafe\u{301}", 1)])
    #expect(both.differences(from: swapped).count == 2)
    #expect(both.differences(from: DatabaseSums(database: "d", tables: [sum("cafe\u{301}", 2)])).count == 1)
    #expect(both.checksum != swapped.checksum)
  }

  @Test func theCombinedChecksumDependsOnEverythingButTheOrder() {
    let sums = DatabaseSums(database: "d", tables: [sum("a"), sum("b", 2, 5)])
    #expect(sums.checksum == DatabaseSums(database: "d", tables: [sum("b", 2, 5), sum("a")]).checksum)
    #expect(sums.checksum?.count == 32)
    for other in [[sum("a")], [sum("a"), sum("b", 3, 5)], [sum("a"), sum("b", 2, 6)], [sum("a"), sum("c", 2, 5)]] {
      #expect(DatabaseSums(database: "d", tables: other).checksum != sums.checksum)
    }
    #expect(DatabaseSums(database: "d", tables: [sum("a", 1, nil)]).checksum == nil)
    #expect(sums.rows == 3)
  }

  /// The offset basis and a known vector of FNV-1a.
  @Test func hashOfKnownText() {
    var hash = FNV128()
    #expect(hexadecimal(hash.value) == "6c62272e07bb014262b821756295c58d")
    hash.add(Array("a".utf8))
    #expect(hexadecimal(hash.value) == "d228cb696f1a8caf78912b704e4a8964")
  }

  @Test func smallTablesShareARoundTripAndLargeOnesDoNot() {
    func table(_ name: String, _ bytes: UInt64) -> CatalogTable {
      CatalogTable(name: RelationName(schema: "s", name: name), bytes: bytes)
    }
    let large = [table("big", 90 << 20), table("bigger", 100 << 20)]
    let small = (100..<220).map { table("t\($0)", 8192) }
    let units = SumUnit.units(database: "d", tables: small + large, largeObjectBytes: 0)
    #expect(units.map(\.tables.count) == [1, 1, 50, 50, 20])
    #expect(units.map(\.tables[0].name.name) == ["bigger", "big", "t100", "t150", "t200"])
    #expect(units.map(\.largeObjectBytes) == [nil, nil, nil, nil, 0])
    let objects = SumUnit.units(database: "d", tables: [table("a", 1)], largeObjectBytes: 1 << 30)
    #expect(objects.map(\.tables.count) == [1, 0])
    #expect(SumUnit.units(database: "d", tables: [], largeObjectBytes: 0).count == 1)
  }

  @Test func viewsAreOrderedByWhatTheyAreMadeOf() {
    func view(_ oid: UInt32) -> MaterializedView {
      MaterializedView(name: RelationName(schema: "s", name: "v\(oid)"), oid: oid, isPopulated: true)
    }
    let edges: [(of: UInt32, on: UInt32)] = [(1, 100), (100, 2), (2, 3), (3, 500), (4, 2), (4, 1)]
    let order = MaterializedViewRefresh.ordered([view(1), view(4), view(2), view(3)], dependencies: edges)
    #expect(order.map(\.oid) == [3, 2, 1, 4])
    let ring = MaterializedViewRefresh.ordered([view(1), view(2)], dependencies: [(1, 2), (2, 1)])
    #expect(Set(ring.map(\.oid)) == [1, 2])
  }

  @Test(arguments: [(["a"], "a"), (["a", "b", "c", "d", "e"], "a, b, c, d, e")])
  func aFewAreNamed(_ items: [String], _ text: String) {
    #expect(few(items) == text)
    #expect(few(["1", "2", "3", "4", "5", "6", "7"], separator: "; ") == "1; 2; 3; 4; 5; and 2 more")
  }
}
