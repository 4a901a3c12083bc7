import HostAdmin
import Inventory
import MigrationCore
import PostgresClient
import RemoteHost
import ReplicationModel
import SyncService

/// What a host says that the workers are to run on.
package struct SyncHostAnswer: Sendable, Equatable {
  var host: String
  /// Of those that the program needs and its build does not bring along.
  var missingLibraries: [String] = []
  /// psql's words where the source refuses a session from the target; nil: it does not, or was not asked.
  var refusal: String?
}

extension PreflightReader {
  /// Nil where the workers run on the workstation. The program is not there yet: what it needs is looked for.
  func syncHost(_ target: Reading<ServerControl>, _ role: Reading<RoleFacts>) async -> Reading<SyncHostAnswer?> {
    await reading(.target) {
      guard let place = try await context.wantedSyncPlace() else { return nil }
      var answer = SyncHostAnswer(host: place.host)
      let script = """
        PATH=$PATH:/sbin:/usr/sbin; known=$(ldconfig -p 2>/dev/null) || exit 0
        for l in "$@"; do case $known in *"$l "*) ;; *) echo "$l" ;; esac; done
        """
      answer.missingLibraries = try await context.remote(named: place.host).runChecked(
        .shell(script, arguments: SyncChecks.libraries, deadline: Self.deadline, label: "looking for libraries").asking
      ).text.split(separator: "\n").map(String.init)
      if place.host == migration.target.name { answer.refusal = try await sessionRefusal(target, role) }
      return answer
    }
  }

  /// As `replication`, for a session in a database, which another record of pg_hba.conf lets in.
  private func sessionRefusal(_ target: Reading<ServerControl>, _ role: Reading<RoleFacts>) async throws -> String? {
    guard let control = target.value, role.value != nil else { return nil }
    var environment = ["PGPASSFILE": "/nonexistent", "PGCONNECT_TIMEOUT": "10"]
    if let password = try await context.session(.source).passwordInUse() { environment["PGPASSWORD"] = password }
    let connection = Quarantine.connectionString(
      migration.source.replicationKeywords + [("dbname", migration.source.postgres.maintenanceDatabase)])
    let result = try await control.remote.run(
      RemoteCommand(
        [control.program("psql"), "-X", "-w", "-A", "-t", "-d", connection, "-c", "SELECT 1"],
        environment: environment, user: control.user, deadline: Self.deadline, label: "psql"
      ).connecting.asking)
    return result.succeeded ? nil : result.errorText
  }
}
