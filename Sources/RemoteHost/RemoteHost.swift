internal import ReplicationModel

/// A machine that commands run on and files travel to: one behind SSH, or this one.
///
/// Both transports start a command the same way (see `Launcher`), so that what is said here holds for both:
/// nothing but the fixed text of the launcher and the command's own arguments shows in the process list; cancelling
/// the task, or a deadline, ends the command with its children before the call returns.
public protocol RemoteHost: Sendable {
  /// The name in the inventory; the place of every error.
  var name: String { get }

  /// Whether commands can be run, as far as anybody has noticed. A connection that has ended does not come back: a new
  /// host has to be made.
  var isOpen: Bool { get }

  /// Runs a command to its end. An exit status other than 0 is a result, not an error.
  ///
  /// The command has ended when its process has exited *and* its output is closed: a daemon that it leaves behind has
  /// to redirect its output, or the call waits for it.
  ///
  /// - Throws: `ConvoyError` for trouble with the transport (`ssh.*`), the launch (`host.*`) or the deadline;
  ///   `CancellationError` after the command was ended because the task was cancelled.
  func run(_ command: RemoteCommand) async throws -> CommandResult

  /// Puts a file in place whole: written beside the target as `0600`, given its owner and mode, flushed to disk,
  /// renamed. At no moment is a half-written or too readable file visible under `path`, and a lost connection leaves
  /// the old file. A symbolic link at `path` is replaced, not followed.
  ///
  /// - Parameters:
  ///   - owner: `user` or `user:group`; nil leaves the file to whoever writes it.
  ///   - user: the operating-system user that writes it; use the owner of the directory, so that root never writes
  ///     where someone else could move things about.
  func upload(_ content: [UInt8], to path: String, mode: UInt16, owner: String?, as user: String?) async throws

  /// Replaces the content of a file that exists, keeping its owner, group, mode, access control list and other extended
  /// attributes; otherwise as `upload`. A symbolic link at `path` stays, and the file that it leads to is replaced.
  func replace(_ path: String, with content: [UInt8], as user: String?) async throws

  /// Reads a regular file; follows symbolic links.
  func download(_ path: String, as user: String?) async throws -> RemoteFile

  /// Ends the connection. Commands that still run fail with `ssh.closed`; they are not ended on the host: cancel them
  /// first. Does nothing the second time.
  func close() async
}

/// A file as it was read from a host.
public struct RemoteFile: Sendable, Equatable {
  public var content: [UInt8]
  /// The permission bits, setuid, setgid and sticky included.
  public var mode: UInt16
  /// Names; decimal numbers where the host has no name.
  public var owner: String
  public var group: String

  public init(content: [UInt8], mode: UInt16, owner: String, group: String) {
    self.content = content
    self.mode = mode
    self.owner = owner
    self.group = group
  }
}

/// Which of a command's two outputs.
public enum OutputStream: Sendable, Hashable {
  case standardOutput
  case standardError
}

/// How a command ended.
public struct CommandResult: Sendable, Equatable {
  /// Nil when a signal ended it.
  public var exitStatus: Int32?
  /// The signal's name without `SIG`: `TERM`, `KILL`. A command that ran as another user (runuser, sudo) reports a
  /// signal as exit status 128 + its number instead, as a shell does.
  public var exitSignal: String?
  /// Whole, or the last 64 KiB where the command has an `onOutput`.
  public var standardOutput: [UInt8]
  public var standardError: [UInt8]
  /// From the call to the end, waiting for a free channel included.
  public var duration: Duration

  public init(
    exitStatus: Int32?, exitSignal: String? = nil, standardOutput: [UInt8] = [], standardError: [UInt8] = [],
    duration: Duration = .zero
  ) {
    self.exitStatus = exitStatus
    self.exitSignal = exitSignal
    self.standardOutput = standardOutput
    self.standardError = standardError
    self.duration = duration
  }

  public var succeeded: Bool { exitStatus == 0 }

  /// The output as text, invalid UTF-8 repaired, without the newlines at its end (what `$(…)` gives).
  public var text: String { trimmedText(standardOutput) }
  public var errorText: String { trimmedText(standardError) }

  /// `exit status 1`, `signal KILL`.
  public var endDescription: String {
    if let exitStatus { return "exit status \(exitStatus)" }
    return "signal \(exitSignal ?? "unknown")"
  }

  private func trimmedText(_ bytes: [UInt8]) -> String {
    var end = bytes.count
    while end > 0 && bytes[end - 1] == UInt8(ascii: "\n") { end -= 1 }
    return String(decoding: bytes[..<end], as: UTF8.self)
  }
}

extension RemoteHost {
  public var isOpen: Bool { true }

  public func upload(_ content: [UInt8], to path: String, mode: UInt16, owner: String? = nil) async throws {
    try await upload(content, to: path, mode: mode, owner: owner, as: nil)
  }

  public func replace(_ path: String, with content: [UInt8]) async throws {
    try await replace(path, with: content, as: nil)
  }

  public func download(_ path: String) async throws -> RemoteFile {
    try await download(path, as: nil)
  }

  /// As `run`, but anything other than exit status 0 is `host.command-failed`, with the last line that the command
  /// wrote to its standard error.
  @discardableResult
  public func runChecked(_ command: RemoteCommand) async throws -> CommandResult {
    let result = try await run(command)
    if result.succeeded { return result }
    var message = "\(command.displayName) failed with \(result.endDescription)"
    if let line = lastLine(of: result.standardError) { message += ": \(line)" }
    throw ConvoyError(
      "host.command-failed", message, at: .host(name), cause: result.errorText.isEmpty ? nil : result.errorText)
  }
}

/// The last line that isn't blank, control characters blanked, 300 characters at most.
func lastLine(of bytes: [UInt8]) -> String? {
  let isBlank = { (byte: UInt8) in byte <= 0x20 }
  guard let last = bytes.lastIndex(where: { !isBlank($0) }) else { return nil }
  let start = bytes[...last].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
  let line = bytes[start...last].drop(while: isBlank)
  let printable = String(decoding: line, as: UTF8.self).unicodeScalars.map { scalar in
    scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) ? " " : Character(scalar)
  }
  return String(printable.prefix(300))
}
