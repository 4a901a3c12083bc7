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
  /// Of what stops or starts: systemd and scripts have limits of their own, and know when it is over.
  private static let patience = Duration.seconds(300)
  /// How long runit is waited for altogether; its `sv` gives up earlier.
  private static let runitPatience = Duration.seconds(120)

  package func isRunning() async throws -> Bool {
    try await remote.run(statusCommand).exitStatus == 0
  }

  /// Asks it to stop; `checkIsStopped` says whether it has.
  package func stop() async throws {
    let result = try await remote.run(command(.stop))
    guard result.succeeded else {
      if try await comes(to: false, after: result) { return }
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
    if !result.succeeded, try await comes(to: true, after: result) { return }
    guard result.succeeded, try await isRunning() else {
      throw ConvoyError(
        "service.not-started",
        "service \(service.name) did not start"
          + (result.errorText.isEmpty ? "" : ": \(result.errorText.split(separator: "\n").last ?? "")"),
        at: .host(host.name), hint: "start it by hand, then run the playbook again")
    }
  }

  /// Whether a service that takes longer than `sv` waits is as it was told to be in the end.
  private func comes(to running: Bool, after result: CommandResult) async throws -> Bool {
    guard service.manager == .runit, result.duration >= .seconds(Self.svWaits) else { return false }
    let end = ContinuousClock.now + Self.runitPatience - result.duration
    while ContinuousClock.now < end {
      if try await isRunning() == running { return true }
      try await Task.sleep(for: .milliseconds(500))
    }
    return false
  }

  private static let svWaits = 30

  /// Exit status 0: it runs.
  package var statusCommand: RemoteCommand { command(.status).asking }
  package var stopCommand: RemoteCommand { command(.stop) }
  package var startCommand: RemoteCommand { command(.start) }

  private func command(_ verb: Verb) -> RemoteCommand {
    let name = service.name
    let limit = verb == .status ? Self.deadline : Self.patience
    switch service.manager {
    case .systemd:
      let action = verb == .status ? ["is-active", "--quiet"] : verb == .stop ? ["stop"] : ["start"]
      return RemoteCommand(["systemctl"] + action + [name], deadline: limit)
    case .sysvinit:
      return RemoteCommand(
        ["service", name, verb == .status ? "status" : verb == .stop ? "stop" : "start"], deadline: limit)
    case .runit:
      let directory = (service.directory ?? host.serviceDirectory) + "/" + name
      switch verb {
      // `sv status` exits 0 for a service that is down as well; `sv check` waits for what is wanted.
      case .status:
        return .shell("sv status \"$1\" | grep -q '^run:'", arguments: [directory], deadline: Self.deadline)
      case .stop: return RemoteCommand(["sv", "-w", "\(Self.svWaits)", "stop", directory], deadline: limit)
      case .start: return RemoteCommand(["sv", "-w", "\(Self.svWaits)", "start", directory], deadline: limit)
      }
    case .command:
      let text =
        switch verb {
        case .status: service.commands?.status
        case .stop: service.commands?.stop
        case .start: service.commands?.start
        }
      return .shell(text ?? "false", deadline: limit, label: "\(name): \(text ?? "no command")")
    }
  }
}
