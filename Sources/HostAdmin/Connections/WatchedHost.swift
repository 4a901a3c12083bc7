package import Logging
package import RemoteHost

/// A host whose commands and files are logged as they happen: what changes something at `debug`, what only asks at
/// `trace`. Neither environment nor input nor a file's text is logged, so no secret is.
package struct WatchedHost: RemoteHost {
  package let host: any RemoteHost
  package let logger: Logger

  package init(host: any RemoteHost, logger: Logger) {
    self.host = host
    self.logger = logger
  }

  package var name: String { host.name }
  package var isOpen: Bool { host.isOpen }

  package func run(_ command: RemoteCommand) async throws -> CommandResult {
    note(command.isQuestion ? "ask" : "run", command.text, as: command.user, command.isQuestion ? .trace : .debug)
    return try await host.run(command)
  }

  package func upload(_ content: [UInt8], to path: String, mode: UInt16, owner: String?, as user: String?) async throws
  {
    note("write", path, as: user)
    try await host.upload(content, to: path, mode: mode, owner: owner, as: user)
  }

  package func replace(_ path: String, with content: [UInt8], as user: String?) async throws {
    note("write", path, as: user)
    try await host.replace(path, with: content, as: user)
  }

  package func download(_ path: String, as user: String?) async throws -> RemoteFile {
    note("read", path, as: user, .trace)
    return try await host.download(path, as: user)
  }

  package func close() async { await host.close() }

  private func note(_ verb: String, _ text: String, as user: String?, _ level: Logger.Level = .debug) {
    var metadata: Logger.Metadata = ["host": "\(name)"]
    if let user { metadata["user"] = "\(user)" }
    logger.log(level: level, "\(verb) \(text)", metadata: metadata)
  }
}
