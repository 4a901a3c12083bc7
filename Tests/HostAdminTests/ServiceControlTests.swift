import Inventory
import RemoteHost
import Testing

@testable import HostAdmin

/// What each manager is asked, to the letter. Some of them run for real among the tests of the steps.
@Suite struct ServiceControlTests {
  private struct Asked {
    var status: String
    var stop: String
    var start: String
  }

  /// No default: a new manager has its case here.
  private func asked(_ manager: ServiceManager) -> Asked {
    switch manager {
    case .systemd:
      Asked(
        status: "systemctl is-active --quiet nginx", stop: "systemctl stop nginx", start: "systemctl start nginx")
    case .sysvinit:
      Asked(status: "service nginx status", stop: "service nginx stop", start: "service nginx start")
    case .runit:
      Asked(
        status: "sv status /etc/sv/nginx | grep -q '^run:'", stop: "sv -w 30 stop /etc/sv/nginx",
        start: "sv -w 30 start /etc/sv/nginx")
    case .command: Asked(status: "ask", stop: "down 'it'", start: "up")
    }
  }

  @Test(arguments: ServiceManager.allCases) func whatIsAsked(_ manager: ServiceManager) throws {
    let commands = manager == .command ? ", start: up, stop: down 'it', status: ask" : ""
    let inventory = try FleetInventory.parse(
      """
      hosts: { old: { local: true, service_directory: /etc/sv }, new: { local: true, postgres: { port: 2 } } }
      migrations:
        one: { source: old, target: new, services: [{ name: nginx, manager: \(manager.rawValue)\(commands) }] }
      """, path: "/inventory.yml", user: LocalUser(name: "u", home: "/"))
    let migration = try #require(inventory.migration(named: "one"))
    let control = ServiceControl(
      service: try #require(migration.services.first), host: migration.source, remote: LocalHost())
    let asked = asked(manager)
    #expect(control.statusCommand.text == asked.status)
    #expect(control.statusCommand.isQuestion)
    #expect(control.stopCommand.text == asked.stop)
    #expect(control.startCommand.text == asked.start)
  }
}
