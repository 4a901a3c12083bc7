import Glibc
import RemoteHost
import ReplicationModel
import Synchronization
import TestSupport
import Testing

/// Through another host, and with keys that a person opens.
@Suite(.serialized)
struct JumpTests {
  private func command(_ text: String) -> RemoteCommand { RemoteCommand(["echo", text]) }

  @Test func aHostBehindAnother() async throws {
    let gate = try SSHServer()
    let inner = try SSHServer()
    let jump = try await connectSSH(gate.parameters())
    var parameters = inner.parameters()
    parameters.jump = jump
    let host = try await connectSSH(parameters)
    #expect(try await host.run(command("inside")).text == "inside")
    // Many at once, also through the channel of the other host.
    let answers = try await withThrowingTaskGroup(of: String.self) { group in
      for number in 0..<12 { group.addTask { try await host.run(self.command("\(number)")).text } }
      return try await group.reduce(into: Set<String>()) { $0.insert($1) }
    }
    #expect(answers == Set((0..<12).map { "\($0)" }))
    // It is the only way: without the first host the second is gone.
    await jump.close()
    let error = await #expect(throws: ConvoyError.self) { _ = try await host.run(self.command("still there")) }
    #expect(error?.code == "ssh.connection-lost")
    #expect(!host.isOpen)
  }

  @Test func twoHostsInBetween() async throws {
    let servers = try (0..<3).map { _ in try SSHServer() }
    var jump: SSHHost?
    for server in servers.dropLast() {
      var parameters = server.parameters()
      parameters.jump = jump
      jump = try await connectSSH(parameters)
    }
    var parameters = servers[2].parameters()
    parameters.jump = jump
    let host = try await connectSSH(parameters)
    #expect(try await host.run(command("far")).text == "far")
    // Closing the last closes those on the way.
    await host.close()
    #expect(jump?.isOpen == false)
  }

  @Test func theHostKeyBehindIsChecked() async throws {
    let gate = try SSHServer()
    let inner = try SSHServer()
    let jump = try await connectSSH(gate.parameters())
    var parameters = inner.parameters()
    parameters.jump = jump
    parameters.knownHostsFile = "\(inner.directory.path)/none"
    let error = await #expect(throws: ConvoyError.self) { _ = try await connectSSH(parameters) }
    #expect(error?.code == "ssh.host-key-unknown")
    #expect(error?.message.contains(inner.fingerprint("host_ed25519")) == true)
    await jump.close()
  }

  @Test func nobodyThereBehindIt() async throws {
    let gate = try SSHServer()
    let jump = try await connectSSH(gate.parameters())
    var parameters = gate.parameters()
    parameters.port = UInt16(try freePort(on: SSHServer.address))
    parameters.jump = jump
    let error = await #expect(throws: ConvoyError.self) { _ = try await connectSSH(parameters) }
    #expect(
      error?.description == """
        error: host db1: 127.0.0.31 port \(parameters.port) cannot be reached through db1 [ssh.unreachable]
        hint: is sshd running there, does db1 resolve and reach it, and does its sshd allow forwarding?
        """)
    await jump.close()
  }

  @Test func aTunnelComesBackOnItsPort() async throws {
    let server = try SSHServer()
    let first = try await connectSSH(server.parameters())
    let port = try await first.openTunnel(toHost: SSHServer.address, port: server.port).localPort
    await first.close()
    #expect(!first.isOpen)
    let second = try await connectSSH(server.parameters())
    #expect(
      try await second.openTunnel(toHost: SSHServer.address, port: server.port, localPort: port).localPort == port)
    // Through it the same server is reached.
    let keys = try server.directory.read("known_hosts").replacing(
      "[127.0.0.31]:\(server.port)", with: "[127.0.0.1]:\(port)")
    try server.directory.write(keys, to: "known_tunnel")
    var through = server.parameters()
    through.host = "127.0.0.1"
    through.port = port
    through.knownHostsFile = "\(server.directory.path)/known_tunnel"
    let host = try await connectSSH(through)
    #expect(try await host.run(command("through")).text == "through")
    await host.close()
    await second.close()
  }

  // MARK: passphrases

  private func locked(_ server: SSHServer) throws -> SSHParameters {
    let path = server.directory.path
    try SSHServer.makeKey("\(path)/locked", "ed25519", passphrase: "open sesame")
    try server.directory.write(
      server.directory.read("authorized_keys") + server.directory.read("locked.pub"), to: "authorized_keys")
    var parameters = server.parameters()
    parameters.identityFile = "\(path)/locked"
    return parameters
  }

  @Test func aPersonOpensAnEncryptedKey() async throws {
    let server = try SSHServer()
    var parameters = try locked(server)
    let asked = Mutex<[String]>([])
    parameters.prompt = { key in
      asked.withLock { $0.append(key) }
      return Array("open sesame".utf8)
    }
    let host = try await connectSSH(parameters)
    #expect(asked.withLock { $0 } == ["\(server.directory.path)/locked"])
    await host.close()
  }

  @Test func nobodyIsAskedWhereAnotherKeyDoes() async throws {
    let server = try SSHServer()
    var parameters = try locked(server)
    parameters.moreIdentityFiles = ["\(server.directory.path)/missing", "\(server.directory.path)/user_ed25519"]
    parameters.prompt = { _ in
      Issue.record("asked")
      return nil
    }
    let host = try await connectSSH(parameters)
    await host.close()
  }

  @Test func aWrongPassphraseAndNone() async throws {
    let server = try SSHServer()
    var parameters = try locked(server)
    parameters.prompt = { _ in Array("wrong".utf8) }
    let wrong = await #expect(throws: ConvoyError.self) { _ = try await connectSSH(parameters) }
    #expect(wrong?.code == "ssh.passphrase-wrong")
    parameters.prompt = { _ in nil }
    let none = await #expect(throws: ConvoyError.self) { _ = try await connectSSH(parameters) }
    #expect(none?.code == "ssh.key-encrypted")
  }
}
