import FoundationEssentials
import Inventory
import Journal
package import MigrationCore
import PostgresClient
package import ReplicationModel

extension MigrationContext {
  /// The report of the cutover in hand, begun when there is none.
  package func report() async throws -> MigrationReport {
    if let known = try await fact(.report) { return known }
    let (record, handOff) = try await completedHandOff()
    func version(_ side: Side) async throws -> String {
      try await session(side).query("SHOW server_version").first ?? "unknown"
    }
    var report = MigrationReport(
      generatedAt: Date(), migration: migrationName, source: migration.source.name, target: migration.target.name,
      outcome: .verified,
      versions: .init(
        pgconvoy: environment.version, source: try await version(.source), target: try await version(.target)))
    report.by = operatorName()
    report.direction = try await self.record()?.direction ?? .forward
    report.handOffLSN = handOff
    report.databases = record.databases.map { database in
      var line = MigrationReport.Database(name: database.name)
      line.handOffLSN = handOff
      return line
    }
    return report
  }

  package func updateReport(_ change: (inout MigrationReport) -> Void) async throws {
    var report = try await report()
    change(&report)
    try await setFact(.report, report)
  }
}
