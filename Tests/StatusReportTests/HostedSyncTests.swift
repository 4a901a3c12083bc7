import FoundationEssentials
import ReplicationModel
import Testing

@testable import StatusReport

/// Migrations whose workers were put on a host, in every format.
@Suite struct HostedSyncTests {
  private func status(_ sync: ConvoyStatus.HostedSync?..., here: Bool = false) -> ConvoyStatus {
    ConvoyStatus(
      generatedAt: moment, sync: .init(running: here, pid: here ? 4711 : nil),
      migrations: sync.enumerated().map { index, sync in
        var migration = ConvoyStatus.Migration(name: "m\(index)", source: "a", target: "b", state: .handedOff)
        migration.sync = sync
        return migration
      })
  }

  @Test func theTableSaysWhereItRunsAndWhereItDoesNot() {
    let running = ConvoyStatus.HostedSync(host: "b", manager: "runit", running: true, pid: 12)
    let stopped = ConvoyStatus.HostedSync(host: "c", manager: "detached", running: false)
    let silent = ConvoyStatus.HostedSync(host: "d", manager: "systemd")
    let lines = StatusTable.render(status(running, stopped, silent)).split(separator: "\n").suffix(4)
    #expect(
      lines == [
        "m0: sync on b (runit) is running (pid 12)", "m1: sync on c (detached) is not running",
        "m2: sync on d (systemd) could not be asked", "0 databases, worst lag –, 0 parked",
      ])
    // One that belongs to this machine makes a difference.
    #expect(StatusTable.render(status(running, nil)).hasSuffix("0 parked, sync is not running\n"))
    #expect(StatusTable.render(status(running, here: true)).hasSuffix("0 parked, sync is running (pid 4711)\n"))
  }

  @Test func jsonAndPrometheus() throws {
    let status = status(
      .init(host: "b", manager: "runit", running: true, pid: 12), .init(host: "c", manager: "systemd"), nil)
    let json = StatusJSON.render(status)
    #expect(try JSONDecoder().decode(ConvoyStatus.self, from: Data(json.utf8)) == status)
    #expect(json.contains("\"running\": null,"))
    let samples = StatusPrometheus.render(status).split(separator: "\n").filter { $0.hasPrefix("pgconvoy_hosted") }
    #expect(samples == [#"pgconvoy_hosted_sync_running{migration="m0",host="b"} 1"#])
  }
}
