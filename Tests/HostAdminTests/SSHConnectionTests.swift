import Foundation
import Inventory
import ReplicationModel
import Synchronization
import TestSupport
import Testing

@testable import HostAdmin

/// ssh_config asked by the real ssh program, and password files for tunnels.
@Suite struct SSHConnectionTests {
  private func resolved(_ config: String, _ hosts: String) async throws -> FleetInventory {
    let directory = try TemporaryDirectory("ssh")
    let path = try directory.write(config, to: "config")
    return try await FleetInventory.parse(
      "defaults: { ssh: { config: \(path) } }\nhosts:\n\(hosts)migrations: { m: { source: old, target: new } }\n",
      path: "/inventory.yml"
    ).resolvedBySSHConfig()
  }

  @Test func aliasesUsersPortsAndJumpHosts() async throws {
    let inventory = try await resolved(
      """
      Host chef-*
        User deploy
        Port 2200
        ProxyJump admin@gate:2022,inner
      Host chef-old
        HostName 10.0.1.10
      Host gate
        HostName 192.0.2.1
        User ignored
      Host inner
        User second
      Host *
        UserKnownHostsFile /etc/hosts
      """, "  old: { address: chef-old }\n  new: { address: other, ssh: { user: root } }\n")
    let old = try #require(inventory.migrations.first).source
    #expect(old.address == "10.0.1.10" && old.postgres.address == "10.0.1.10")
    #expect(old.ssh.user == "deploy" && old.ssh.port == 2200 && old.ssh.knownHosts == "/etc/hosts")
    #expect(old.ssh.jumps.map(\.address) == ["192.0.2.1", "inner"])
    #expect(old.ssh.jumps.map(\.settings.user) == ["admin", "second"])
    #expect(old.ssh.jumps.map(\.settings.port) == [2022, 22])
    let new = try #require(inventory.migrations.first).target
    #expect(new.address == "other" && new.ssh.user == "root" && new.ssh.jumps == [])
  }

  @Test func whatSSHRefusesIsAnErrorOfTheHost() async throws {
    let error = await #expect(throws: ConvoyError.self) {
      _ = try await resolved("Bogus yes\n", "  old:\n  new:\n")
    }
    #expect(error?.code == "ssh.bad-config" && error?.exitStatus == 2)
    let command = await #expect(throws: ConvoyError.self) {
      _ = try await resolved("ProxyCommand nc %h %p\n", "  old:\n  new:\n")
    }
    #expect(
      command?.description == """
        error: host old: ssh_config has a ProxyCommand for old, which is not supported [ssh.bad-config]
        hint: use ProxyJump there, or set ssh.config to none and ssh.proxy_jump for that host
        """)
  }

  @Test(
    arguments: [
      ("db:5432:*:pgconvoy:secret", "secret"), ("*:*:*:*:all", "all"), ("db:5432:other:pgconvoy:no", nil),
      ("# db:5432:*:pgconvoy:no\ndb:5432:app:pgconvoy:a\\:b\\\\c", "a:b\\c"), ("db:5433:*:*:no\n*:5432:*:*:yes", "yes"),
      ("db:5432:app:pgconvoy", nil), ("db:5432:app:pgconvoy:with:colons", "with:colons"), ("", nil),
    ] as [(String, String?)])
  func passwordFiles(_ text: String, _ expected: String?) {
    #expect(
      PasswordFile.password(in: text, host: "db", port: 5432, database: "app", user: "pgconvoy") == expected)
  }
}
