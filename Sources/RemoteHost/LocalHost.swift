internal import BlockingIO
internal import Glibc
internal import ReplicationModel
internal import Synchronization

/// This machine, with the same promises as a host behind SSH: the same launcher, sessions, errors, file transfer.
///
/// Every command has a thread of its own while it runs.
public struct LocalHost: RemoteHost {
  public let name: String
  private let login: LoginIdentity

  public init(name: String = "localhost") {
    self.name = name
    login = Self.currentLogin()
  }

  public func run(_ command: RemoteCommand) async throws -> CommandResult {
    let prepared = try PreparedCommand(command, host: name, login: login)
    try Task.checkCancellation()
    let control = LocalCommandControl()
    return try await withTaskCancellationHandler {
      try await onDedicatedThread("local command") {
        try LocalCommand(prepared, control: control).run()
      }
    } onCancel: {
      control.cancel()
    }
  }

  public func close() async {}

  private static func currentLogin() -> LoginIdentity {
    let id = geteuid()
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    var buffer = [CChar](repeating: 0, count: 16 << 10)
    let user: String? = buffer.withUnsafeMutableBufferPointer { bytes in
      guard let start = bytes.baseAddress, getpwuid_r(id, &entry, start, bytes.count, &found) == 0, found != nil,
        let name = entry.pw_name
      else { return nil }
      return String(cString: name)
    }
    return LoginIdentity(user: user ?? String(id), isRoot: id == 0)
  }
}

/// The other threads' end of a running local command.
final class LocalCommandControl: Sendable {
  private let cancelled = Mutex(false)
  let wakeUp = WakeUp()

  var isCancelled: Bool { cancelled.withLock { $0 } }

  func cancel() {
    cancelled.withLock { $0 = true }
    wakeUp.signal()
  }
}
