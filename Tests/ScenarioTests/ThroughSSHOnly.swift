import Glibc
import Lab
import ReplicationModel
import Testing

extension Scenarios {
  /// Neither PostgreSQL is reached directly, and the source's host only through another one: statements and workers go
  /// through SSH alike, and find their way again when the connections break.
  @Suite(.serialized) struct ThroughSSHOnly {
    @Test func statementsAndWorkersGoThroughSSH() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        let jump = "\(scenario.lab.sshUser)@\(scenario.target.address):\(scenario.target.sshPort)"
        var inventory = try readText(scenario.lab.inventoryFile)
        inventory = inventory.replacing("    postgres:\n", with: "    postgres:\n      via: ssh\n")
        let ssh = try #require(inventory.firstRange(of: "    ssh:\n"))
        inventory.replaceSubrange(ssh, with: "    ssh:\n      proxy_jump: \(jump)\n      config: none\n")
        try writeFile(scenario.lab.inventoryFile, inventory)
        try await scenario.play("migrate")
        let sync = try await scenario.syncPID()
        try await scenario.applicationGoesOn()
        try await scenario.drained()
        let peers = try connections(of: sync)
        #expect(!peers.contains { $0.port == scenario.source.postgresPort }, "\(peers)")
        #expect(peers.contains { $0.address == 0x0100_007F })

        // Every SSH connection of the source's host breaks.
        for pid in scenario.sshdListeners(scenario.source).flatMap(scenario.children) { kill(pid, SIGKILL) }
        try await scenario.applicationGoesOn()
        try await scenario.drained()
        try await scenario.play(try scenario.cutoverWithoutServices())
        try await scenario.expectIdentical(sequences: true)
      }
    }

    /// The remote ends of a process's TCP connections over IPv4.
    private func connections(of pid: pid_t) throws -> [(address: UInt32, port: Int)] {
      let inodes = Set(
        directoryEntries("/proc/\(pid)/fd").compactMap { name -> String? in
          var buffer = [CChar](repeating: 0, count: 64)
          let count = readlink("/proc/\(pid)/fd/\(name)", &buffer, buffer.count - 1)
          guard count > 0 else { return nil }
          let text = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
          return text.hasPrefix("socket:[") ? String(text.dropFirst(8).dropLast()) : nil
        })
      return try readText("/proc/\(pid)/net/tcp").split(separator: "\n").dropFirst().compactMap { line in
        let fields = line.split(separator: " ")
        guard fields.count > 9, inodes.contains(String(fields[9])) else { return nil }
        let remote = fields[2].split(separator: ":")
        guard let address = UInt32(remote[0], radix: 16), let port = Int(remote[1], radix: 16), port > 0 else {
          return nil
        }
        return (address, port)
      }
    }
  }
}
