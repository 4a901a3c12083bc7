internal import BlockingIO
internal import Glibc
internal import ReplicationModel

/// A host behind SSH: one connection, any number of commands at once.
///
/// A thread of its own drives libssh2; everything here only posts to it. Released without `close()`, the connection is
/// closed, too.
public final class SSHHost: RemoteHost {
  public let name: String
  private let login: LoginIdentity
  private let mailbox: SSHMailbox
  private let jump: SSHHost?

  fileprivate init(name: String, login: LoginIdentity, mailbox: SSHMailbox, jump: SSHHost?) {
    self.jump = jump
    self.name = name
    self.login = login
    self.mailbox = mailbox
  }

  deinit {
    mailbox.post(.close(nil))
  }

  /// The operating-system user that commands without a `user` run as.
  public var loginUser: String { login.user }

  /// Whether the connection is there, as far as anybody has noticed.
  public var isOpen: Bool { !mailbox.hasEnded }

  public func run(_ command: RemoteCommand) async throws -> CommandResult {
    let prepared = try PreparedCommand(command, host: name, login: login)
    try Task.checkCancellation()
    let identifier = mailbox.nextIdentifier()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        mailbox.post(.run(identifier, prepared, continuation))
        // The handler may have come before the command, and found nothing to cancel.
        if Task.isCancelled { mailbox.post(.cancel(identifier)) }
      }
    } onCancel: {
      mailbox.post(.cancel(identifier))
    }
  }

  /// Opens a port on 127.0.0.1 of this machine that leads to `toHost:port` as the SSH host sees it.
  ///
  /// Whether the far end can be reached shows only when a connection is made: it is closed at once if not. Anyone on
  /// this machine can connect to the port.
  ///
  /// - Parameter localPort: 0 for a free one.
  /// - Throws: `ssh.tunnel-failed`, `ssh.connection-lost`, `ssh.closed`.
  public func openTunnel(toHost host: String, port: UInt16, localPort: UInt16 = 0) async throws -> SSHTunnel {
    let localPort = try await withCheckedThrowingContinuation { continuation in
      mailbox.post(.openTunnel(SSHTunnelTarget(host: host, port: port), localPort, continuation))
    }
    return SSHTunnel(localPort: localPort, mailbox: mailbox)
  }

  /// A socket that leads to `host:port` as this host sees it; the caller closes it. It ends at once when the far end
  /// cannot be reached. Nobody else on this machine can get at it.
  func connection(toHost host: String, port: UInt16) throws -> Int32 {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw ConvoyError("ssh.tunnel-failed", "cannot make a pair of sockets: \(errorWords(errno))", at: .host(name))
    }
    _ = fcntl(ends[0], F_SETFL, fcntl(ends[0], F_GETFL) | O_NONBLOCK)
    mailbox.post(.connect(SSHTunnelTarget(host: host, port: port), ends[1]))
    return ends[0]
  }

  public func close() async {
    await withCheckedContinuation { continuation in
      mailbox.post(.close(continuation))
    }
    await jump?.close()
  }
}

/// A local port that leads through an SSH host; it ends with the host's connection.
public struct SSHTunnel: Sendable {
  /// On 127.0.0.1.
  public let localPort: UInt16
  fileprivate let mailbox: SSHMailbox

  /// Takes no new connections any more; those that are open go on.
  public func close() {
    mailbox.post(.closeTunnel(localPort))
  }
}

/// Connects to a host: key exchange, host key against known_hosts, and only then authentication.
///
/// - Throws: `ConvoyError` with one of the `ssh.*` codes in docs/reference/ssh.md, `host.launch-failed` when the
///   account cannot run commands, `CancellationError`, and what the passphrase source throws.
public func connectSSH(_ parameters: SSHParameters) async throws -> SSHHost {
  let control = ConnectControl()
  let mailbox = SSHMailbox()
  let identities = try await identities(parameters)
  return try await withTaskCancellationHandler {
    try await withCheckedThrowingContinuation { continuation in
      startThread(name: "ssh \(parameters.name)") {
        do {
          let deadline = Deadline.after(parameters.connectTimeout)
          let session = try HostKeyCheck(parameters, until: deadline, control: control).connect()
          var authentication = SSHAuthentication(session, identities: identities)
          try authentication.logIn()
          let loop = SSHLoop(session, mailbox: mailbox)
          let login = try loop.identify(until: deadline, control: control)
          continuation.resume(
            returning: SSHHost(
              name: parameters.name, login: login, mailbox: mailbox, jump: parameters.jump))
          loop.run()
        } catch {
          continuation.resume(throwing: error)
        }
      }
    }
  } onCancel: {
    control.cancel()
  }
}

private func identities(_ parameters: SSHParameters) async throws -> [SSHAuthentication.Identity] {
  var identities: [SSHAuthentication.Identity] = []
  if let path = parameters.identityFile {
    let file = try await onDedicatedThread("ssh key") { try PrivateKeyFile(path: path, host: parameters.name) }
    let passphrase = file.isEncrypted ? try await parameters.passphrase?() : nil
    identities.append(SSHAuthentication.Identity(file: file, passphrase: passphrase))
  }
  let others = await parameters.moreIdentityFiles.asyncCompactMap { path in
    try? await onDedicatedThread("ssh key") { try PrivateKeyFile(path: path, host: parameters.name) }
  }
  return identities + others.map { SSHAuthentication.Identity(file: $0, passphrase: nil) }
}

extension Array {
  fileprivate func asyncCompactMap<Value>(_ body: (Element) async -> Value?) async -> [Value] {
    var values: [Value] = []
    for element in self {
      if let value = await body(element) { values.append(value) }
    }
    return values
  }
}
