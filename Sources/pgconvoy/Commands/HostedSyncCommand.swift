import ArgumentParser
import FoundationEssentials
import Glibc
import HostAdmin
import Journal
import ReplicationModel

/// `pgconvoy hosted-sync`: what a play runs, through SSH, beside a sync process that was put on a host.
struct HostedSyncCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hosted-sync", abstract: "Ask or end a sync process that was put here.", shouldDisplay: false,
    subcommands: [Exchange.self, End.self])

  /// Orders on standard input, the process's words on standard output.
  struct Exchange: AsyncParsableCommand {
    @Option var state: String

    func run() async throws {
      let input = try FileHandle.standardInputBytes()
      guard let message = try? JSONDecoder().decode(SyncMessage.self, from: Data(input)),
        message.orders.version == SyncOrders.currentVersion
      else {
        throw ConvoyError("sync.other-version", "the orders are of another version of pgconvoy", kind: .usage)
      }
      let journal = try await Journal.open(stateDirectory: StateDirectory(path: state))
      let report = try await journal.perform { file throws(ConvoyError) in try file.take(message) }
      Terminal.output(String(decoding: try JSONEncoder().encode(report), as: UTF8.self) + "\n")
    }
  }

  /// Ends whoever holds the state directory's lock; done when nobody does.
  struct End: AsyncParsableCommand {
    @Option var state: String

    private static let patience = Duration.seconds(60)

    func run() async throws {
      let directory = StateDirectory(path: state)
      var told: Int32?
      try await waitUntil(within: Self.patience, interval: .milliseconds(100), orThrow: { notEnded(told) }) {
        let process = try SyncProcessLock.status(stateDirectory: directory)
        guard process.running else { return true }
        if let pid = process.pid, pid != told {
          told = pid
          kill(pid, SIGTERM)
        }
        return false
      }
    }

    private func notEnded(_ pid: Int32?) -> ConvoyError {
      ConvoyError(
        "sync.not-stopped", "the sync process" + (pid.map { " (pid \($0))" } ?? "") + " has not ended",
        at: .path(state), hint: "end it by hand, then run the playbook again")
    }
  }
}

private enum FileHandle {
  /// All of it.
  static func standardInputBytes() throws -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(STDIN_FILENO, &buffer, buffer.count)
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw ConvoyError("sync.no-orders", "standard input cannot be read")
      }
      bytes += buffer[..<count]
    }
  }
}
