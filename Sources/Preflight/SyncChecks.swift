import Inventory
import MigrationCore
import ReplicationModel

/// Whether the workers can run where the inventory wants them.
package enum SyncChecks {
  /// By the names that the linker looks for.
  static let libraries = ["libpq.so.5", "libssh2.so.1", "libsqlite3.so.0"]

  package static let all: [PreflightCheck] = [
    PreflightCheck("sync.host", "the workers can run on the host that sync.on names", host)
  ]

  private static let consequence =
    "the workers could not be started after the hand-off, and the source would keep WAL for them"

  @Sendable static func host(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    if let error = facts.sync.error {
      return [Finding(error, host: facts.migration.sync.host ?? "", consequence: consequence)]
    }
    guard let answer = try facts.sync.get() else { return [] }
    var findings: [Finding] = []
    if !answer.missingLibraries.isEmpty {
      findings.append(
        Finding(
          .error, "preflight.sync-libraries", host: answer.host,
          "\(answer.host) has no \(answer.missingLibraries.joined(separator: ", "))", consequence: consequence,
          remedy: "on Debian: apt-get install libpq5 libssh2-1 libsqlite3-0"))
    }
    if let refusal = answer.refusal {
      let line = refusal.split(separator: "\n").last.map(String.init) ?? "no word why"
      findings.append(
        Finding(
          .error, "preflight.sync-connection", host: answer.host,
          object: facts.migration.source.postgres.replicationAddress,
          "the source refuses the workers' sessions from the target: \(line)", consequence: consequence,
          remedy: "in pg_hba.conf on \(facts.name(.source)): host all \(facts.migration.source.postgres.user) "
            + "\(facts.migration.target.address)/32 scram-sha-256; then SELECT pg_reload_conf()"))
    }
    return findings
  }
}
