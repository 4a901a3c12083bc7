import LogicalDecoding
import ReplicationModel
import Testing

@testable import ChangeApply

/// The net change of a row within a batch, told by the records of a stream.
@Suite struct NetChangeBatchTests {
  /// A table `public.t (id integer primary key, a text, big text)`.
  private static let relation = TargetRelation(
    name: RelationName(schema: "public", name: "t"), kind: .table, identity: .key(["id"]),
    columns: ["id", "a", "big"].map { name in
      var column = TargetRelation.Column(
        name: name, type: name == "id" ? "integer" : "text", isGenerated: false, isIdentityAlways: false,
        isIndexed: name == "id", equality: "=")
      column.hasOneTextPerValue = true
      return column
    })

  private enum Refused: Error { case byTheBatch }

  /// Applies records such as `INSERT: id[integer]:1 …` and shows what comes out: `delete 1`, `update 1 a=x`, ….
  private func net(_ records: [String]) throws -> [String] {
    let (batch, stored) = try filled(records)
    defer { withExtendedLifetime(stored) {} }
    return texts(BatchPlan(batch, of: Self.relation), batch)
  }

  /// With what its values stand in.
  private func filled(_ records: [String]) throws -> (batch: NetChangeBatch, stored: [StoredRecord]) {
    var parser = TestDecodingParser()
    let relation = Self.relation
    var batch = NetChangeBatch(columnCount: relation.columns.count, keyColumns: relation.keyColumns)
    let stored = records.map { StoredRecord("table public.t: \($0)") }
    for record in stored.map(\.bytes) {
      let decoded = try parser.parse(record)
      func targets(_ columns: [DecodedColumn]) -> [Int] {
        columns.map { relation.column(named: unquotedIdentifier($0.name, in: record)) ?? -1 }
      }
      let accepted: Bool
      switch decoded {
      case .insert: accepted = batch.insert(parser.newColumns!, targets: targets(parser.newColumns!), of: record)
      case .update: accepted = batch.update(parser.newColumns!, targets: targets(parser.newColumns!), of: record)
      default: accepted = batch.delete(parser.oldColumns!, targets: targets(parser.oldColumns!), of: record)
      }
      if !accepted { throw Refused.byTheBatch }
    }
    return (batch, stored)
  }

  private func texts(_ plan: BatchPlan, _ batch: NetChangeBatch) -> [String] {
    let relation = Self.relation
    func text(_ row: Int, _ columns: [Int]) -> String {
      columns.map { column in
        let value = batch.value(row, column).bytes.map { String(decoding: $0, as: UTF8.self) }
        return relation.columns[column].name + "=" + (value ?? "null")
      }.joined(separator: " ")
    }
    return plan.deletes.map { "delete \(text($0, [0]))" }
      + plan.updates.flatMap { set, rows in rows.map { "update \(text($0, [0] + set))" } }
      + plan.inserts.flatMap { set, rows in rows.map { "insert \(text($0, set))" } }
  }

  /// What may go in beside the batch before, and what may not.
  @Test func rowsOfTheBatchBeforeAreKnownByTheirKeys() throws {
    var (before, storedBefore) = try filled(
      ["INSERT: id[integer]:1 a[text]:'x' big[text]:'b'", "DELETE: id[integer]:2"]
        + (1000..<3000).map { "UPDATE: id[integer]:\($0) a[text]:'y' big[text]:unchanged-toast-datum" })
    withExtendedLifetime(storedBefore) {}
    let keys = before.takeKeys()
    var room: NetChangeBatch.Room?
    before.removeAll(spare: &room)
    storedBefore.removeAll()
    let (batch, stored) = try filled(
      [
        "UPDATE: id[integer]:1 a[text]:'z' big[text]:unchanged-toast-datum",
        "INSERT: id[integer]:2 a[text]:'z' big[text]:'b'",
        "DELETE: id[integer]:2999", "DELETE: id[integer]:3000",
        "UPDATE: id[integer]:999 a[text]:'z' big[text]:unchanged-toast-datum",
      ])
    defer { withExtendedLifetime(stored) {} }
    #expect(
      texts(BatchPlan(batch, of: Self.relation) { keys.mayContain($0.hash) }, batch)
        == ["delete id=2999", "update id=1 a=z", "insert id=2 a=z big=b"])
    #expect(
      texts(BatchPlan(batch, of: Self.relation) { !keys.mayContain($0.hash) }, batch)
        == ["delete id=3000", "update id=999 a=z"])
    #expect(batch.rows.allSatisfy { !BatchKeys().mayContain($0.hash) })
    // The batch takes changes again.
    #expect(before.isEmpty)
    #expect(try net(["INSERT: id[integer]:1 a[text]:'x' big[text]:'b'"]) == ["insert id=1 a=x big=b"])
  }

  /// Neighbours in the index follow each other, whatever the order of the stream.
  @Test func setsGoInTheOrderOfTheirKeys() throws {
    let order = Array(1...200).map { $0 * 7919 % 100_003 }
    let plan = try net(order.map { "UPDATE: id[integer]:\($0) a[text]:'y' big[text]:unchanged-toast-datum" })
    #expect(plan == order.sorted().map { "update id=\($0) a=y" })
    let deletes = try net(order.map { "DELETE: id[integer]:\($0 * 100_000)" })
    #expect(deletes == order.sorted().map { "delete id=\($0 * 100_000)" })
    // With what all of them begin with, and differences behind the first bytes after it.
    let paths = try net(order.map { "DELETE: id[text]:'/a/long/path/\(1_000_000 + $0)/and/more'" })
    #expect(paths == order.sorted().map { "delete id=/a/long/path/\(1_000_000 + $0)/and/more" })
    #expect(try net(order.map { _ in "DELETE: id[integer]:7" }.prefix(1).map { $0 }) == ["delete id=7"])
  }

  private static let insert1 = "INSERT: id[integer]:1 a[text]:'x' big[text]:'long'"
  private static let update1 = "UPDATE: id[integer]:1 a[text]:'y' big[text]:unchanged-toast-datum"
  private static let delete1 = "DELETE: id[integer]:1"

  @Test(arguments: [
    ([insert1], ["insert id=1 a=x big=long"]),
    ([update1], ["update id=1 a=y"]),
    ([delete1], ["delete id=1"]),
    ([insert1, update1], ["insert id=1 a=y big=long"]),
    ([insert1, delete1], []),
    ([insert1, delete1, insert1], ["insert id=1 a=x big=long"]),
    ([delete1, insert1], ["delete id=1", "insert id=1 a=x big=long"]),
    ([delete1, insert1, update1], ["delete id=1", "insert id=1 a=y big=long"]),
    ([delete1, insert1, delete1], ["delete id=1"]),
    ([update1, delete1], ["delete id=1"]),
    ([update1, delete1, insert1], ["delete id=1", "insert id=1 a=x big=long"]),
    (
      [update1, "UPDATE: id[integer]:1 a[text]:null big[text]:'it''s new'", update1],
      ["update id=1 a=y big=it's new"]
    ),
  ])
  func theLastStateOfARowCounts(_ records: [String], _ expected: [String]) throws {
    #expect(try net(records) == expected)
  }

  /// What no table allows is refused, so that the changes are replayed one by one.
  @Test(arguments: [
    [insert1, insert1], [delete1, update1], [delete1, delete1], [update1, insert1], [insert1, delete1, delete1],
  ])
  func changesThatContradictEachOtherAreRefused(_ records: [String]) {
    #expect(throws: Refused.self) { try net(records) }
  }

  /// Nothing of what was in a batch is found in it afterwards, whether its room was kept or went to another one.
  @Test(arguments: [3, 200, 5000])
  func anEmptiedBatchKnowsNoRow(count: Int) throws {
    var parser = TestDecodingParser()
    var batch = NetChangeBatch(columnCount: 1, keyColumns: [0])
    var other = NetChangeBatch(columnCount: 1, keyColumns: [0])
    var spare: NetChangeBatch.Room?
    let inserts = (0..<count).map { StoredRecord("table public.t: INSERT: id[integer]:\($0)") }
    for round in 0..<3 {
      for record in inserts {
        _ = try parser.parse(record.bytes)
        let columns = try #require(parser.newColumns)
        let isTaken = batch.insert(columns, targets: [0], of: record.bytes)
        #expect(isTaken, "round \(round)")
        let isTakenTwice = batch.insert(columns, targets: [0], of: record.bytes)
        #expect(!isTakenTwice)
      }
      batch.removeAll(spare: &spare)
      #expect(batch.isEmpty)
      #expect(batch.capacity <= NetChangeBatch.keptRows)
      #expect((spare != nil) == (count > NetChangeBatch.keptRows))
      if let room = spare {
        other.take(room)
        spare = nil
        swap(&batch, &other)
      }
      // Few rows in much room are cleared one by one.
      for record in inserts.prefix(2) {
        _ = try parser.parse(record.bytes)
        let isTaken = batch.insert(try #require(parser.newColumns), targets: [0], of: record.bytes)
        #expect(isTaken)
      }
      batch.removeAll(spare: &spare)
    }
  }

  @Test func updatesAreGroupedByTheColumnsThatTheySet() throws {
    let result = try net([
      "UPDATE: id[integer]:1 a[text]:'p' big[text]:unchanged-toast-datum",
      "UPDATE: id[integer]:2 a[text]:'q' big[text]:'r'",
      "UPDATE: id[integer]:3 a[text]:'s' big[text]:unchanged-toast-datum",
    ])
    #expect(result == ["update id=1 a=p", "update id=3 a=s", "update id=2 a=q big=r"])
  }

  /// More rows than the first table of buckets has places for, each found again.
  @Test func manyRowsAreToldApart() throws {
    let count = 5000
    let inserts = (0..<count).map { "INSERT: id[integer]:\($0) a[text]:'\($0)' big[text]:null" }
    let deletes = (0..<count).filter { $0 % 3 != 0 }.map { "DELETE: id[integer]:\($0)" }
    let kept = (0..<count).filter { $0 % 3 == 0 }.map { "insert id=\($0) a=\($0) big=null" }
    #expect(try net(inserts + deletes) == kept)
  }

  @Test func statements() {
    #expect(
      Self.relation.batchDelete()
        == BatchStatement(
          sql: """
            DELETE FROM ONLY "public"."t" AS t USING ROWS FROM (pg_catalog.unnest($1::integer[])) AS x(c0) \
            WHERE t."id" OPERATOR(pg_catalog.=) x.c0
            """,
          columns: [0]))
    #expect(
      Self.relation.batchUpdate(set: [1])
        == BatchStatement(
          sql: """
            UPDATE ONLY "public"."t" AS t SET "a" = x.c1 FROM \
            ROWS FROM (pg_catalog.unnest($1::integer[]), pg_catalog.unnest($2::text[])) AS x(c0, c1) \
            WHERE t."id" OPERATOR(pg_catalog.=) x.c0
            """, columns: [0, 1]))
    var withArray = Self.relation
    withArray.columns[1].type = "integer[]"
    withArray.columns[1].baseType = "integer[]"
    withArray.columns[1].travelsAsText = true
    #expect(
      withArray.batchUpdate(set: [1]).sql.contains(
        #"SET "a" = x.c1::integer[] FROM ROWS FROM (pg_catalog.unnest($1::integer[]), pg_catalog.unnest($2::text[]))"#)
    )
    let copy = #"COPY "public"."t" ("id", "big") FROM STDIN"#
    #expect(Self.relation.batchCopy(columns: [0, 2], binary: false) == copy)
    #expect(Self.relation.batchCopy(columns: [0, 2], binary: true) == copy + " (FORMAT binary)")
  }

  @Test func literalsAndRows() {
    func bytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) { Array(text.utf8).withUnsafeBytes(body) }
    var literal = ByteWriter()
    ArrayLiteral.open(&literal)
    bytes(#"a"b\c, {}"#) { ArrayLiteral.append($0, isFirst: true, to: &literal) }
    ArrayLiteral.append(nil, isFirst: false, to: &literal)
    bytes("") { ArrayLiteral.append($0, isFirst: false, to: &literal) }
    ArrayLiteral.close(&literal)
    #expect(String(decoding: literal.bytes, as: UTF8.self) == #"{"a\"b\\c, {}",NULL,""}"# + "\0")
    var row = ByteWriter()
    bytes("tab\tline\nback\\slash\r") { CopyText.append($0, isFirst: true, to: &row) }
    CopyText.append(nil, isFirst: false, to: &row)
    CopyText.endRow(&row)
    #expect(String(decoding: row.bytes, as: UTF8.self) == #"tab\tline\nback\\slash\r"# + "\t" + #"\N"# + "\n")
  }
}
