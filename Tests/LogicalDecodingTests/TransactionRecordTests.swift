import Testing

@testable import LogicalDecoding

@Suite struct TransactionRecordTests {
  @Test(arguments: [
    ("BEGIN", RecordModel.begin(nil)), ("BEGIN 0", .begin(0)), ("BEGIN 748", .begin(748)),
    ("BEGIN 4294967295", .begin(.max)), ("COMMIT", .commit(nil, at: nil)), ("COMMIT 5", .commit(5, at: nil)),
    ("COMMIT (at 2024-01-01 00:00:00+00)", .commit(nil, at: "2024-01-01 00:00:00+00")),
    ("COMMIT 1 (at 2024-01-01 00:00:00.123+00)", .commit(1, at: "2024-01-01 00:00:00.123+00")),
    ("COMMIT 1 (at 0044-03-15 12:00:00-03:30 BC)", .commit(1, at: "0044-03-15 12:00:00-03:30 BC")),
  ])
  func readsBeginAndCommit(text: String, expected: RecordModel) throws {
    #expect(try read(text) == expected)
  }

  @Test(arguments: [
    ("PREPARE TRANSACTION 'g'", RecordModel.prepare("g", nil, at: nil)),
    ("PREPARE TRANSACTION ''", .prepare("", nil, at: nil)),
    ("PREPARE TRANSACTION 'it''s', txid 7", .prepare("it's", 7, at: nil)),
    (#"PREPARE TRANSACTION E'a\\b''c', txid 7"#, .prepare(#"a\b'c"#, 7, at: nil)),
    (#"PREPARE TRANSACTION  E'a\\b'"#, .prepare(#"a\b"#, nil, at: nil)),
    ("PREPARE TRANSACTION 'a'', txid 1 (at x)', txid 2", .prepare("a', txid 1 (at x)", 2, at: nil)),
    (
      "COMMIT PREPARED 'g', txid 7 (at 2024-01-01 00:00:00.5+00)",
      .commitPrepared("g", 7, at: "2024-01-01 00:00:00.5+00")
    ),
    ("COMMIT PREPARED 'g' (at 2024-01-01 00:00:00+00)", .commitPrepared("g", nil, at: "2024-01-01 00:00:00+00")),
    ("ROLLBACK PREPARED 'line\nfeed 🐘', txid 9", .rollbackPrepared("line\nfeed 🐘", 9, at: nil)),
  ])
  func readsPreparedTransactions(text: String, expected: RecordModel) throws {
    #expect(try read(text) == expected)
  }

  @Test(arguments: [
    ("BEGIN 4294967296", 15, "a transaction id is below 2^32"), ("BEGIN ", 6, "expected a transaction id"),
    ("BEGIN x", 6, "expected a transaction id"), ("BEGIN 1 ", 7, "expected the end of the record"),
    ("BEGINS", 5, "expected the end of the record"), ("COMMIT 1 (at )", 13, "expected a timestamp"),
    ("COMMIT 1 (at 2024", 17, "expected ')' after the timestamp"),
    ("COMMIT 1 (at 2024) ", 18, "expected the end of the record"), ("COMMIT 1 at", 9, "expected a timestamp"),
    ("COMMIT PREP", 11, "expected 'COMMIT PREPARED'"), ("COMMIT PREPAID", 11, "expected 'COMMIT PREPARED'"),
    ("PREPARE TRANSACTION g", 20, "expected a quoted identifier of a prepared transaction"),
    ("PREPARE TRANSACTION 'g", 22, "the identifier of a prepared transaction is not closed"),
    (#"PREPARE TRANSACTION E'a\b'"#, 24, "expected a second backslash"),
    ("PREPARE TRANSACTION 'g', txid", 29, "expected ', txid' after the transaction's identifier"),
    ("PREPARE TRANSACTION 'g'x", 23, "expected the end of the record"),
  ])
  func refuses(text: String, offset: Int, reason: String) {
    #expect(fault(text) == MalformedRecord(offset: offset, reason: reason))
  }
}
