import Testing

@testable import CopySteps
@testable import MigrationSteps

/// What `prepare_source` reads and takes back, as text.
@Suite struct SourcePreparationTests {
  @Test(
    arguments: [
      (
        """
        psql: error: connection to server at "10.0.1.10", port 5432 failed: FATAL:  no pg_hba.conf entry for replication \
        connection from host "10.0.1.20", user "pgconvoy", SSL encryption
        """, "10.0.1.20"
      ),
      ("FATAL:  no pg_hba.conf entry for host \"2001:db8::1\", user \"123\"", "2001:db8::1"),
      ("FATAL:  no pg_hba.conf entry for host \"[local]\", user \"pgconvoy\"", nil), ("", nil),
    ] as [(String, String?)])
  func theAddressThatTheSourceSees(_ message: String, _ expected: String?) {
    #expect(SourcePreparation.refusedAddress(message) == expected)
  }

  @Test func onlyTheBlockIsTakenOut() {
    let text = """
      # pgconvoy access begin: migration m, taken away when it is finished
      host all "pgconvoy" 10.0.1.20/32 scram-sha-256
      # pgconvoy access end
      # ours
      local all all peer

      """
    #expect(SourcePreparation.withoutBlock(text) == "# ours\nlocal all all peer\n")
    #expect(SourcePreparation.withoutBlock("local all all peer\n") == "local all all peer\n")
  }

  @Test func settingsGoBackToWhatTheyWere() {
    typealias Change = SourcePreparation.Change
    #expect(Change(name: "wal_level", value: "logical").statement == "ALTER SYSTEM SET wal_level = 'logical'")
    #expect(Change(name: "wal_level", value: "logical").backStatement == "ALTER SYSTEM RESET wal_level")
    #expect(
      Change(name: "wal_level", value: "logical", before: "minimal").backStatement
        == "ALTER SYSTEM SET wal_level = 'minimal'")
  }
}
