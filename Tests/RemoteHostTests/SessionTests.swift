import Glibc
import Lab
import RemoteHost
import ReplicationModel
import TestSupport
import Testing

/// One connection with much to do at once.
@Suite(.serialized)
struct SessionTests {
  @Test(arguments: ["", "MaxSessions 3", "MaxSessions 1"])
  func twentyCommandsAtOnce(_ configuration: String) async throws {
    let server = try SSHServer(configuration: configuration)
    try await withHost(server) { host in
      let answers = try await withThrowingTaskGroup(of: (Int, String).self) { group in
        for number in 0..<20 {
          group.addTask {
            let input = [UInt8](repeating: UInt8(number), count: 300_000)
            let result = try await host.run(
              .shell("cat | wc -c; echo $1", arguments: ["\(number)"], standardInput: input))
            return (number, result.text)
          }
        }
        return try await group.reduce(into: [Int: String]()) { $0[$1.0] = $1.1 }
      }
      #expect(answers.count == 20)
      for (number, text) in answers { #expect(text == "300000\n\(number)") }
    }
  }

  @Test func aShortCommandBesideALongOneWithOutput() async throws {
    let server = try SSHServer()
    try await withHost(server) { host in
      let (started, teller) = AsyncStream.makeStream(of: Void.self)
      let long = Task {
        try await host.run(.shell("yes", onOutput: { _, _ in teller.yield() }))
      }
      for await _ in started { break }
      for number in 0..<5 {
        let result = try await host.run(RemoteCommand(["echo", "\(number)"], deadline: .seconds(20)))
        #expect(result.text == "\(number)")
      }
      long.cancel()
      await #expect(throws: CancellationError.self) { try await long.value }
    }
  }

  @Test func keysAreExchangedAnewInTheMiddle() async throws {
    let server = try SSHServer(configuration: "RekeyLimit 1M")
    try await withHost(server) { host in
      let input = (0..<(6 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
      let result = try await host.run(RemoteCommand(["cat"], standardInput: input))
      #expect(result.standardOutput == input)
    }
  }

  @Test func aKilledServerFailsWhatIsRunning() async throws {
    let server = try SSHServer()
    let host = try await connectSSH(server.parameters())
    let (started, teller) = AsyncStream.makeStream(of: Void.self)
    let marker = "600.\(Int.random(in: 100_000_000...999_999_999))"
    let running = Task {
      try await host.run(.shell("echo; exec sleep $1", arguments: [marker], onOutput: { _, _ in teller.yield() }))
    }
    for await _ in started { break }
    for process in server.connectionProcesses { kill(process, SIGKILL) }
    let error = await #expect(throws: ConvoyError.self) { try await running.value }
    #expect(error?.code == "ssh.connection-lost")
    #expect(
      error?.message.hasPrefix("the connection to 127.0.0.31 port \(server.port) was lost: ") == true,
      "\(error?.message ?? "")")
    #expect(error?.hint == "what ran there may still be running; running the same play again is safe")
    let later = await #expect(throws: ConvoyError.self) { try await host.run(RemoteCommand(["true"])) }
    #expect(later?.code == "ssh.connection-lost")
    await host.close()
    // What sshd left behind.
    for entry in ProcessTable.snapshot().entries where entry.arguments == ["sleep", marker] {
      kill(entry.pid, SIGTERM)
    }
  }

  @Test func anIdleConnectionAnswersTheServersKeepAlives() async throws {
    let server = try SSHServer(configuration: "ClientAliveInterval 1\nClientAliveCountMax 1")
    try await withHost(server) { host in
      // Not a wait for a condition: the server must have had the time to give up.
      try await Task.sleep(for: .seconds(4))
      #expect(try await host.run(RemoteCommand(["echo", "here"])).text == "here")
    }
  }

  @Test func closingFailsWhatIsRunning() async throws {
    let server = try SSHServer()
    let host = try await connectSSH(server.parameters())
    let (started, teller) = AsyncStream.makeStream(of: Void.self)
    let running = Task {
      try await host.run(.shell("echo; while kill -0 $PPID; do sleep 0.1; done", onOutput: { _, _ in teller.yield() }))
    }
    for await _ in started { break }
    await host.close()
    let error = await #expect(throws: ConvoyError.self) { try await running.value }
    #expect(
      error?.description
        == "error: host db1: the connection was closed before the command had ended [ssh.closed]")
    await host.close()
  }

  @Test func aTunnelLeadsToThePortBeyond() async throws {
    let server = try SSHServer()
    try await withHost(server) { host in
      let tunnel = try await host.openTunnel(toHost: SSHServer.address, port: server.port)
      // The server again, through itself.
      var parameters = server.parameters()
      try server.directory.write(
        server.directory.read("known_hosts").split(separator: "\n").map { line in
          "[127.0.0.1]:\(tunnel.localPort) " + line.split(separator: " ").dropFirst().joined(separator: " ")
        }.joined(separator: "\n") + "\n", to: "tunnel_hosts")
      parameters.knownHostsFile = "\(server.directory.path)/tunnel_hosts"
      parameters.host = "127.0.0.1"
      parameters.port = tunnel.localPort
      let inner = try await connectSSH(parameters)
      let input = [UInt8](repeating: 9, count: 3 << 20)
      async let other = host.run(RemoteCommand(["cat"], standardInput: input))
      let result = try await inner.run(RemoteCommand(["cat"], standardInput: input))
      #expect(result.standardOutput == input)
      let outer = try await other
      #expect(outer.standardOutput == input)
      await inner.close()
      tunnel.close()
    }
  }
}
