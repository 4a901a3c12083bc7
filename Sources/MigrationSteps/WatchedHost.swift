import Logging
import RemoteHost
import ReplicationModel

/// A host whose commands and files are logged as they happen: what changes something at `debug`, what only asks at
/// `trace`. Neither environment nor input nor a file's text is logged, so no secret is.
struct WatchedHost: RemoteHost {
  let host: any RemoteHost
  let logger: Logger

  var name: String { host.name }
  var isOpen: Bool { host.isOpen }

  func run(_ command: RemoteCommand) async throws -> CommandResult {
    note(command.isQuestion ? "ask" : "run", command.text, as: command.user, command.isQuestion ? .trace : .debug)
    return try await host.run(command)
  }

  func upload(_ content: [UInt8], to path: String, mode: UInt16, owner: String?, as user: String?) async throws {
    note("write", path, as: user)
    try await host.upload(content, to: path, mode: mode, owner: owner, as: user)
  }

  func replace(_ path: String, with content: [UInt8], as user: String?) async throws {
    note("write", path, as: user)
    try await host.replace(path, with: content, as: user)
  }

  func download(_ path: String, as user: String?) async throws -> RemoteFile {
    note("read", path, as: user, .trace)
    return try await host.download(path, as: user)
  }

  func close() async { await host.close() }

  private func note(_ verb: String, _ text: String, as user: String?, _ level: Logger.Level = .debug) {
    var metadata: Logger.Metadata = ["host": "\(name)"]
    if let user { metadata["user"] = "\(user)" }
    logger.log(level: level, "\(verb) \(text)", metadata: metadata)
  }
}
