import HostAdmin
import Testing

@testable import MigrationCore

/// What is told from `pg_waldump`'s lines, as PostgreSQL 15 prints them, and what the second lock says.
struct ClosedSideTests {
  private static func line(_ manager: String, _ transaction: Int, _ description: String) -> String {
    "rmgr: \(manager) len (rec/tot):     59/    59, tx:        \(transaction), lsn: 0/015236A8, prev 0/015232C0, "
      + "desc: \(description)"
  }

  @Test(
    arguments: [
      (
        "Heap       ", "INSERT+INIT off 1 flags 0x08, blkref #0: rel 1663/5/16384 blk 0",
        .rows(.init(tablespace: 1663, database: 5, number: 16384))
      ),
      (
        "Heap       ", "HOT_UPDATE off 3 xmax 732 flags 0x00 ; new off 4 xmax 0, blkref #0: rel 1664/0/1262 blk 0 FPW",
        .rows(.init(tablespace: 1664, database: 0, number: 1262))
      ),
      (
        "Heap2      ", "MULTI_INSERT 3 tuples flags 0x02, blkref #0: rel 1663/5/1249 blk 55",
        .rows(.init(tablespace: 1663, database: 5, number: 1249))
      ),
      (
        "Sequence   ", "LOG rel 1663/5/16392, blkref #0: rel 1663/5/16392 blk 0",
        .rows(.init(tablespace: 1663, database: 5, number: 16392))
      ),
      ("Heap       ", "TRUNCATE nrelids 1 relids: 16384", .emptied),
      ("Heap2      ", "NEW_CID rel 1663/5/1259; tid 1/1; cmin: 0, cmax: 4294967295, combo: 4294967295", .other),
      ("Heap       ", "LOCK off 1: xid 735: flags 0x00 LOCK_ONLY EXCL_LOCK , blkref #0: rel 1663/5/2619 blk 0", .other),
      ("Heap       ", "INPLACE off 2, blkref #0: rel 1663/5/1259 blk 0", .other),
      ("Btree      ", "INSERT_LEAF off 1, blkref #0: rel 1663/5/16387 blk 1", .other),
      ("Standby    ", "LOCK xid 729 db 5 rel 16392 ", .other),
      (
        "LogicalMessage", #"MESSAGE transactional, prefix "pgconvoy.flush"; payload (0 bytes): "#, .message
      ),
      ("Transaction", "INVALIDATION ; inval msgs: catcache 59", .other),
      ("Transaction", "COMMIT 2026-11-30 10:56:43.134249 UTC", .commit),
      ("Transaction", "COMMIT_PREPARED 2026-11-30 10:56:43.134249 UTC: xid 5, gid x", .commit),
      ("Transaction", "ABORT 2026-11-30 10:56:43.134249 UTC", .other),
    ] as [(String, String, WALRecord.Effect)])
  func whatARecordDoesToRows(manager: String, description: String, effect: WALRecord.Effect) throws {
    let record = try #require(WALRecord(Self.line(manager, 725, description)))
    #expect(record.transaction == 725)
    #expect(record.effect == effect)
  }

  @Test func aCommitNamesItsSubtransactions() throws {
    let text = "COMMIT 2026-11-30 10:56:43.133640 UTC; subxacts: 726 728; inval msgs: catcache 55"
    #expect(try #require(WALRecord(Self.line("Transaction", 725, text))).subtransactions == [726, 728])
    #expect(WALRecord("first record is after 0/15236A8, at 0/15236E8, skipping over 64 bytes") == nil)
  }

  @Test func aDatabaseIsClosedAndOpenedAgain() {
    let open = ConnectionLimits.Database(name: #"a "b"#, limit: 7, before: nil)
    #expect(!open.isClosed && open.opening == [])
    #expect(
      open.closing == [
        #"ALTER DATABASE "a ""b" SET pgconvoy.connection_limit = '7'"#, #"ALTER DATABASE "a ""b" CONNECTION LIMIT 0"#,
      ])
    let closed = ConnectionLimits.Database(name: "x", limit: 0, before: 7)
    #expect(closed.isClosed)
    #expect(
      closed.opening == [
        #"ALTER DATABASE "x" CONNECTION LIMIT 7"#, #"ALTER DATABASE "x" RESET pgconvoy.connection_limit"#,
      ])
    // Somebody has given it a limit since: what it was before stays known.
    let opened = ConnectionLimits.Database(name: "x", limit: -1, before: 7)
    #expect(!opened.isClosed && opened.closing == [#"ALTER DATABASE "x" CONNECTION LIMIT 0"#])
    // One that took no connections before takes none afterwards.
    #expect(ConnectionLimits.Database(name: "x", limit: 0, before: nil).closing.count == 2)
  }

  @Test func aBlockKeepsOutAsLongAsItIsWholeAndOnTop() throws {
    let text = "local all all trust\n"
    let fenced = try HostBasedAuthentication(text).fenced(for: "postgres", note: "n")
    #expect(fenced.isKeptOut && !HostBasedAuthentication(text).isKeptOut)
    #expect(!HostBasedAuthentication("local all app trust\n" + fenced.text).isKeptOut)
    #expect(!HostBasedAuthentication(fenced.text.replacing("host all all ::/0 reject\n", with: "")).isKeptOut)
    let moved = fenced.text.replacing("host all all ::/0 reject\n", with: "") + "host all all ::/0 reject\n"
    #expect(!HostBasedAuthentication(moved).isKeptOut)
  }
}
