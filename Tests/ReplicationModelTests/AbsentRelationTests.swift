import ReplicationModel
import Testing

/// Whether a table of the source can be the one that the target lacks, by names and transactions alone.
@Suite struct AbsentRelationTests {
  private static func bytes(_ name: String) -> [UInt8] { Array(name.utf8) }

  private static func table(
    _ name: String, schema: String = "public", oid: UInt32 = 20_000, madeBy: UInt32, namedBy: UInt32?,
    copied: Bool = false,
    copiedSchema: Bool = true, columns: [String]? = nil
  ) -> SourceTables.Table {
    SourceTables.Table(
      oid: oid, schema: bytes(schema), name: bytes(name), quoted: schema + "." + name, madeBy: madeBy, namedBy: namedBy,
      isAsCopied: copied, hasCopiedSchema: copiedSchema, columns: columns?.map(bytes))
  }

  /// Rows of `public.new` (a, b), written by transaction 1000.
  private static func fate(
    _ tables: [SourceTables.Table], oid: UInt32? = nil, moment: String = "2000:2000:", xid: UInt32 = 1000
  ) throws -> RelationFate {
    let snapshot = try #require(TransactionSnapshot(moment))
    return SourceTables(moment: snapshot, tables: tables).fate(
      of: AbsentRelation(
        schema: bytes("public"), table: bytes("new"), oid: oid, xid: xid, columns: [bytes("a"), bytes("b")]))
  }

  private static let others: [SourceTables.Table] = [
    table("t", madeBy: 600, namedBy: 600, copied: true),
    // Renamed before the copy was made.
    table("t", madeBy: 500, namedBy: 600, copied: true),
    table("t", madeBy: 900, namedBy: 900), table("t", madeBy: 999, namedBy: 999),
    table("t", madeBy: 4_294_967_000, namedBy: 4_294_967_000),
    table("new", schema: "other", madeBy: 900, namedBy: 900),
    // Later, and made with other columns.
    table("t", madeBy: 1000, namedBy: 1000, columns: ["a"]),
    table("t", madeBy: 1001, namedBy: 1001, columns: ["b", "a"]),
  ]

  private static let candidates: [SourceTables.Table] = [
    table("t", madeBy: 1000, namedBy: 1000), table("t", madeBy: 1001, namedBy: 1001, columns: ["a", "b"]),
    table("t", madeBy: 900, namedBy: 1000, columns: ["a"]), table("t", madeBy: 1000, namedBy: 950),
    table("t", madeBy: 900, namedBy: 950), table("t", madeBy: 900, namedBy: nil),
    table("new", schema: "other", madeBy: 900, namedBy: 900, copiedSchema: false),
    table("new", schema: "other", madeBy: 500, namedBy: 500, copied: true, copiedSchema: false),
  ]

  @Test(arguments: others) func another(_ other: SourceTables.Table) throws {
    #expect(try Self.fate([other]) == .gone)
  }

  @Test(arguments: candidates) func candidate(_ candidate: SourceTables.Table) throws {
    #expect(try Self.fate(Self.others + [candidate]) == .alive([candidate.quoted]))
  }

  @Test func theSameName() throws {
    #expect(try Self.fate([Self.table("new", madeBy: 900, namedBy: 900)]) == .present)
    #expect(try Self.fate([Self.table("new", madeBy: 500, namedBy: 500, copied: true)]) == .present)
  }

  /// A deleted row tells its key only.
  @Test func partOfTheColumns() throws {
    let snapshot = try #require(TransactionSnapshot("2000:2000:"))
    func fate(_ columns: [String]) -> RelationFate {
      SourceTables(moment: snapshot, tables: [Self.table("t", madeBy: 1001, namedBy: 1001, columns: ["a", "b"])]).fate(
        of: AbsentRelation(
          schema: Self.bytes("public"), table: Self.bytes("new"), oid: nil, xid: 1000, columns: columns.map(Self.bytes),
          hasAllColumns: false))
    }
    #expect(fate(["b"]) == .alive(["public.t"]))
    #expect(fate(["c"]) == .gone)
  }

  @Test func byOID() throws {
    let made = Self.table("t", oid: 7, madeBy: 1000, namedBy: 1000)
    #expect(try Self.fate([made], oid: 7) == .alive(["public.t"]))
    #expect(try Self.fate([made], oid: 8) == .gone)
  }

  /// Who cannot see the transaction's end cannot see what it has left.
  @Test(arguments: ["1000:1000:", "900:1001:1000", "5:1000:7,9", "5:4294968295:4294968296"])
  func notOverYet(_ moment: String) throws { #expect(try Self.fate([], moment: moment) == .open) }

  @Test(arguments: ["1001:1001:", "900:1001:950", "4294968297:4294968297:", "4294968200:4294968297:4294968295"])
  func over(_ moment: String) throws { #expect(try Self.fate([], moment: moment) == .gone) }

  @Test(arguments: ["", "1:2", "a:b:", "1:2:3:4"]) func noSnapshot(_ text: String) {
    #expect(TransactionSnapshot(text) == nil)
  }
}
