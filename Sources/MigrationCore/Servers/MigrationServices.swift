package import HostAdmin
package import Inventory
import Journal
import RemoteHost
import ReplicationModel

extension MigrationContext {
  /// Also when the connection to the host breaks meanwhile: nobody serves as long as it does not run.
  ///
  /// - Returns: false when it ran already.
  package nonisolated(nonsending) func startService(_ name: String, _ side: Side) async throws -> Bool {
    try await holdingOn("starting \(name)") {
      for control in try await serviceControls(side) where control.service.name == name {
        if try await control.isRunning() { return false }
        progress("starting \(name)")
        try await control.start()
      }
      return true
    }
  }

  package func serviceControls(_ side: Side) async throws -> [ServiceControl] {
    let host = migration.host(side)
    let services = migration.services(on: side)
    guard !services.isEmpty else { return [] }
    let remote = try await remote(side)
    return services.map { ServiceControl(service: $0, host: host, remote: remote) }
  }

  /// Starts again what was stopped on a side and ran before, the last one stopped first.
  package func startingAgain(_ side: Side) async throws -> Undoing {
    let host = migration.host(side).name
    let name = migrationName
    let records = try await journal.perform { file throws(ConvoyError) in
      try file.servicesToStart(migration: name, host: host)
    }
    var deeds: [Deed] = []
    for record in records {
      guard migration.services(on: side).contains(where: { $0.name == record.name }) else {
        throw ConvoyError(
          "service.unknown", "service \(record.name), which was stopped, is not in the inventory any more",
          at: .host(host), hint: "put it back, or start it by hand and mark it: it was running")
      }
      deeds += [
        .service(side, record.name, .start),
        .aside { _ in
          try await self.journal.perform { file throws(ConvoyError) in
            try file.serviceStarted(migration: name, host: host, name: record.name, manager: record.manager)
          }
        },
      ]
    }
    return Undoing(
      records.isEmpty ? nil : "started " + records.map(\.name).joined(separator: ", ") + " again", deeds)
  }
}
