package import Inventory
package import RemoteHost
import ReplicationModel

/// How one service is asked, stopped and started on its host.
package struct ServiceControl {
  package let service: Service
  package let host: Inventory.Host
  package let remote: any RemoteHost

  package init(service: Service, host: Inventory.Host, remote: any RemoteHost) {
    self.service = service
    self.host = host
    self.remote = remote
  }

  private enum Verb { case status, stop, start }

  private static let deadline = Duration.seconds(60)

  package func isRunning() async throws -> Bool {
    try await remote.run(statusCommand).exitStatus == 0
  }

  /// Asks it to stop; `checkIsStopped` says whether it has.
  package func stop() async throws {
    let result = try await remote.run(command(.stop))
    guard result.succeeded else {
      throw notStopped(
        result.errorText.isEmpty ? "" : ": \(result.errorText.split(separator: "\n").last ?? "")")
    }
  }

  package func checkIsStopped() async throws {
    if try await isRunning() { throw notStopped("") }
  }

  private func notStopped(_ why: String) -> ConvoyError {
    ConvoyError(
      "service.not-stopped", "service \(service.name) did not stop\(why)", at: .host(host.name),
      hint: "stop it by hand and run the playbook again")
  }

  package func start() async throws {
    let result = try await remote.run(command(.start))
    guard result.succeeded, try await isRunning() else {
      throw ConvoyError(
        "service.not-started",
        "service \(service.name) did not start"
          + (result.errorText.isEmpty ? "" : ": \(result.errorText.split(separator: "\n").last ?? "")"),
        at: .host(host.name), hint: "start it by hand, then run the playbook again")
    }
  }

  /// Exit status 0: it runs.
  package var statusCommand: RemoteCommand { command(.status).asking }
  package var stopCommand: RemoteCommand { command(.stop) }
  package var startCommand: RemoteCommand { command(.start) }

  private func command(_ verb: Verb) -> RemoteCommand {
    let name = service.name
    switch service.manager {
    case .systemd:
      let action = verb == .status ? ["is-active", "--quiet"] : verb == .stop ? ["stop"] : ["start"]
      return RemoteCommand(["systemctl"] + action + [name], deadline: Self.deadline)
    case .sysvinit:
      return RemoteCommand(
        ["service", name, verb == .status ? "status" : verb == .stop ? "stop" : "start"], deadline: Self.deadline)
    case .runit:
      let directory = (service.directory ?? host.serviceDirectory) + "/" + name
      switch verb {
      // `sv status` exits 0 for a service that is down as well; `sv check` waits for what is wanted.
      case .status:
        return .shell("sv status \"$1\" | grep -q '^run:'", arguments: [directory], deadline: Self.deadline)
      case .stop: return RemoteCommand(["sv", "-w", "30", "stop", directory], deadline: Self.deadline)
      case .start: return RemoteCommand(["sv", "-w", "30", "start", directory], deadline: Self.deadline)
      }
    case .command:
      let text =
        switch verb {
        case .status: service.commands?.status
        case .stop: service.commands?.stop
        case .start: service.commands?.start
        }
      return .shell(text ?? "false", deadline: Self.deadline, label: "\(name): \(text ?? "no command")")
    }
  }
}
