/// Records that once were worth a second look; the fuzz driver starts from them too.
enum FuzzCorpus {
  static let records = [
    "", "BEGIN", "BEGIN 4294967295", "BEGIN 4294967296", "COMMIT (at )", "COMMIT 1 (at now))",
    "table a.b: INSERT: (no-tuple-data)", "table a.b: INSERT: a[bit]:B''", "table a.b: UPDATE: old-key: new-tuple:",
    "table a.b: DELETE: \"\"\"\"[\"]\"\"[\"[]]:''''''",
    "table \"\".\"\": TRUNCATE: (no-flags)", "table a.b, a.b: TRUNCATE: restart_seqs cascade",
    "message: transactional: 1 prefix: , sz: 0 content:, sz: 0 content:",
    "message: transactional: 0 prefix: \n, sz: 1 content:\n",
    "PREPARE TRANSACTION '', txid 0", "COMMIT PREPARED E'\\\\''', txid 1 (at x)",
    "COMMIT PREPARED  E'a\\\\b'", "BEGIN 0781", "COMMIT 0782 (at 2026-11-23 05:03:23.88020+00)",
    "message: transactional: 1 prefix: p, sz: 01 content:x",
  ]
}
