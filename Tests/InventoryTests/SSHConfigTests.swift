import Inventory
import Testing

/// What ssh_config adds to an inventory.
@Suite struct SSHConfigTests {
  private func host(_ settings: String) throws -> Host {
    let inventory = try FleetInventory.parse(
      "hosts: { db: { \(settings) }, new: }\nmigrations: { m: { source: db, target: new } }\n", path: "/inventory.yml",
      user: LocalUser(name: "me", home: "/home/me"))
    return try #require(inventory.host(named: "db"))
  }

  private let output = SSHConfigOutput(
    parsing: """
      user admin
      hostname 10.0.0.9
      port 2222
      identityfile ~/.ssh/id_ed25519
      identityfile /keys/work
      identityfile /keys/missing
      userknownhostsfile /home/me/.ssh/known_hosts /home/me/.ssh/known_hosts2
      proxyjump gate
      """)
  private let readable = { (path: String) in path != "/keys/missing" }

  @Test func whatTheInventoryLeavesOpenComesFromSSH() throws {
    var host = try host("")
    host.apply(output, readable: readable)
    #expect(host.address == "10.0.0.9" && host.postgres.address == "10.0.0.9")
    #expect(host.postgres.replicationAddress == "10.0.0.9")
    #expect(host.ssh.user == "admin" && host.ssh.port == 2222 && host.ssh.proxyJump == "gate")
    #expect(host.ssh.identityFile == nil && host.ssh.moreIdentityFiles == ["~/.ssh/id_ed25519", "/keys/work"])
    #expect(host.ssh.knownHosts == "/home/me/.ssh/known_hosts")
    for key in ["address", "postgres.address", "ssh.user", "ssh.port", "ssh.identity_file", "ssh.known_hosts"] {
      #expect(host.origins[key] == .sshConfig, "\(key)")
    }
  }

  @Test func whatTheInventorySaysWins() throws {
    var host = try host(
      "postgres: { address: db.internal }, ssh: { user: root, port: 22, identity_file: /k, known_hosts: /h, proxy_jump: none }"
    )
    host.apply(output, readable: readable)
    #expect(host.postgres.address == "db.internal" && host.postgres.replicationAddress == "db.internal")
    #expect(host.ssh.user == "root" && host.ssh.port == 22 && host.ssh.identityFile == "/k")
    #expect(host.ssh.knownHosts == "/h" && host.ssh.moreIdentityFiles == [] && host.ssh.proxyJump == "none")
    #expect(host.address == "10.0.0.9")
  }

  @Test func throughSSHTheAddressIsTheHostsOwn() throws {
    var host = try host("address: alias, postgres: { via: ssh }")
    #expect(host.postgres.via == .ssh && host.postgres.address == "127.0.0.1")
    #expect(host.postgres.replicationAddress == "alias")
    host.apply(output, readable: readable)
    #expect(host.postgres.address == "127.0.0.1" && host.postgres.replicationAddress == "10.0.0.9")
  }

  @Test func noneIsNoJump() throws {
    var host = try host("")
    host.apply(SSHConfigOutput(parsing: "proxyjump none\n"), readable: readable)
    #expect(host.ssh.proxyJump == nil)
  }

  @Test(
    arguments: [
      ("gate", "gate", nil, nil), ("me@gate", "gate", "me", nil), ("me@gate:2222", "gate", "me", 2222),
      ("ssh://me@gate:22/", "gate", "me", 22), ("[2001:db8::1]:22", "2001:db8::1", nil, 22),
      ("2001:db8::1", "2001:db8::1", nil, nil), ("a@b@gate", "gate", "a@b", nil),
    ] as [(String, String, String?, Int?)])
  func destinations(_ text: String, _ host: String, _ user: String?, _ port: Int?) throws {
    let destination = try #require(SSHDestination(text))
    #expect(destination.host == host && destination.user == user && destination.port == port)
  }

  @Test(arguments: ["", "me@", "@gate", "gate:", "gate:0", "gate:x", "[::1]x"])
  func noDestinations(_ text: String) {
    #expect(SSHDestination(text) == nil)
  }

  @Test func bothThroughSSHAreTwoServers() throws {
    let inventory = try FleetInventory.parse(
      """
      defaults: { postgres: { via: ssh } }
      hosts: { old: , new: }
      migrations: { m: { source: old, target: new } }
      """, path: "/inventory.yml")
    #expect(inventory.migrations.count == 1)
  }
}
