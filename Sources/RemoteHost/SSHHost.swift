internal import BlockingIO
internal import ReplicationModel

/// A host behind SSH: one connection, any number of commands at once.
///
/// A thread of its own drives libssh2; everything here only posts to it. Released without `close()`, the connection is
/// closed, too.
public final class SSHHost: RemoteHost {
  public let name: String
  private let login: LoginIdentity
  private let mailbox: SSHMailbox

  fileprivate init(name: String, login: LoginIdentity, mailbox: SSHMailbox) {
    self.name = name
    self.login = login
    self.mailbox = mailbox
  }

  deinit {
    mailbox.post(.close(nil))
  }

  /// The operating-system user that commands without a `user` run as.
  public var loginUser: String { login.user }

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
  /// - Throws: `ssh.tunnel-failed`, `ssh.connection-lost`, `ssh.closed`.
  public func openTunnel(toHost host: String, port: UInt16) async throws -> SSHTunnel {
    let localPort = try await withCheckedThrowingContinuation { continuation in
      mailbox.post(.openTunnel(SSHTunnelTarget(host: host, port: port), continuation))
    }
    return SSHTunnel(localPort: localPort, mailbox: mailbox)
  }

  public func close() async {
    await withCheckedContinuation { continuation in
      mailbox.post(.close(continuation))
    }
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
  let identity = try await identity(parameters)
  return try await withTaskCancellationHandler {
    try await withCheckedThrowingContinuation { continuation in
      startThread(name: "ssh \(parameters.name)") {
        do {
          let deadline = Deadline.after(parameters.connectTimeout)
          let session = try HostKeyCheck(parameters, until: deadline, control: control).connect()
          var authentication = SSHAuthentication(session, identity: identity)
          try authentication.logIn()
          let loop = SSHLoop(session, mailbox: mailbox)
          let login = try loop.identify(until: deadline, control: control)
          continuation.resume(returning: SSHHost(name: parameters.name, login: login, mailbox: mailbox))
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

private func identity(_ parameters: SSHParameters) async throws -> SSHAuthentication.Identity? {
  guard let path = parameters.identityFile else { return nil }
  let file = try await onDedicatedThread("ssh key") { try PrivateKeyFile(path: path, host: parameters.name) }
  guard file.isEncrypted, let source = parameters.passphrase else {
    return SSHAuthentication.Identity(file: file, passphrase: nil)
  }
  return SSHAuthentication.Identity(file: file, passphrase: try await source())
}
