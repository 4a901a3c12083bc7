package import HostAdmin
package import Inventory
import RemoteHost

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
}
