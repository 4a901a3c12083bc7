internal import BlockingIO
internal import CLibSSH2
internal import Glibc
internal import ReplicationModel

/// The loop of one session: a thread of its own, non-blocking libssh2, `poll(2)` over the socket and the mailbox.
///
/// Any call into libssh2 may take packets for any channel off the socket and queue them inside; therefore the loop
/// turns until a turn has neither moved anything nor received a byte, and only then waits.
final class SSHLoop {
  private let session: SSHSession
  private let mailbox: SSHMailbox
  private var channels: [SSHChannel] = []
  private var tunnels: SSHTunnels
  /// libssh2 keeps the state of an opening in the session: one at a time, whoever it is for.
  private var opening: SSHChannel?
  private var maximumSessions: Int
  /// The closed channel of the first command. Reading from it is how the connection is listened to while no other
  /// channel is open; libssh2 has no call for that.
  private var listener: SSHChannel?
  /// No channel is opened before this: the server has refused one while none of ours was open.
  private var retryOpening: Deadline?
  private var closing: [CheckedContinuation<Void, Never>?] = []

  init(_ session: SSHSession, mailbox: SSHMailbox) {
    self.session = session
    self.mailbox = mailbox
    maximumSessions = max(1, session.parameters.maximumSessions)
    tunnels = SSHTunnels(session)
  }

  private var socket: SSHSocket { session.socket }
  private var parameters: SSHParameters { session.parameters }

  /// Runs the first command, which tells whom we are logged in as.
  ///
  /// - Throws: `ssh.connection-lost`, `ssh.timeout`, `host.launch-failed`.
  func identify(until deadline: Deadline, control: ConnectControl) throws -> LoginIdentity {
    var answer: Result<SSHChannel.PlainResult, ConvoyError>?
    let channel = SSHChannel(plain: "exec sh -c 'echo pgconvoy: $(id -u) $(id -un)'") { answer = $0 }
    channels.append(channel)
    while answer == nil {
      while turn() {}
      if let failure = socket.failure { throw lost(failure) }
      if answer != nil { break }
      if control.isCancelled { throw CancellationError() }
      if deadline.hasPassed {
        throw session.failure(
          "ssh.timeout", "\(parameters.host) port \(parameters.port) did not finish the first command in time",
          hint: "do the account's start-up files wait for something?")
      }
      let events = Int16(POLLIN) | (socket.pendingCount > 0 ? Int16(POLLOUT) : 0)
      _ = BlockingIO.poll(
        [(socket.fileDescriptor, events), (control.wakeUp.fileDescriptor, Int16(POLLIN))], until: deadline)
    }
    let result = try answer?.get() ?? SSHChannel.PlainResult(exitStatus: nil, output: [], errors: [])
    if let start = firstRange(of: Array("pgconvoy: ".utf8), in: result.output) {
      let line = result.output[start...].prefix { $0 != UInt8(ascii: "\n") }
      let fields = line.split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
      if fields.count == 3 { return LoginIdentity(user: fields[2], isRoot: fields[1] == "0") }
    }
    // sshd's own remark about the home directory would hide what the shell has to say.
    let complaint = lastLine(of: result.errors).flatMap { $0.hasPrefix("Could not chdir to home") ? nil : $0 }
    let words = complaint ?? lastLine(of: result.output) ?? lastLine(of: result.errors) ?? "no answer"
    throw session.failure(
      "host.launch-failed", "the login shell of \(parameters.user) did not start a command: \(words)",
      hint: "the account needs a POSIX shell, and its start-up files must not end a shell that is not interactive")
  }

  /// Serves the mailbox until it is asked to close or the connection is lost.
  func run() {
    while true {
      for request in mailbox.take() { accept(request) }
      if !closing.isEmpty {
        end(session.failure("ssh.closed", "the connection was closed before the command had ended"))
        return
      }
      interruptOverdue()
      let busy = turn()
      if let failure = socket.failure {
        end(lost(failure))
        return
      }
      var seconds: Int32 = 0
      libssh2_keepalive_send(session.handle, &seconds)
      socket.flush()
      // One turn, then the mailbox again: much output of one command must not keep others from starting or ending.
      if busy { continue }
      var wake = min(Deadline.after(.seconds(Int64(max(1, seconds)))), retryOpening ?? .never)
      for channel in channels {
        wake = min(wake, channel.lingerUntil)
        if let execution = channel.execution, execution.endReason == nil { wake = min(wake, execution.deadline) }
      }
      let events = Int16(POLLIN) | (socket.pendingCount > 0 ? Int16(POLLOUT) : 0)
      _ = BlockingIO.poll(
        [(socket.fileDescriptor, events), (mailbox.wakeUp.fileDescriptor, Int16(POLLIN))] + tunnels.pollDescriptors,
        until: wake)
    }
  }

  private func lost(_ words: String) -> ConvoyError {
    session.failure(
      "ssh.connection-lost", "the connection to \(parameters.host) port \(parameters.port) was lost: \(words)",
      hint: "what ran there may still be running; running the same play again is safe")
  }

  private func end(_ reason: ConvoyError) {
    mailbox.end(reason)
    if reason.code == "ssh.closed" {
      libssh2_session_disconnect_ex(session.handle, SSH_DISCONNECT_BY_APPLICATION, "bye", "")
      socket.flush()
    }
    socket.fail(reason.message)
    for channel in channels {
      channel.fail(reason)
      _ = channel.free()
    }
    _ = listener?.free()
    tunnels.closeAll(reason)
    for continuation in closing { continuation?.resume() }
  }

  private func accept(_ request: SSHRequest) {
    switch request {
    case .run(let identifier, let prepared, let continuation):
      let execution = CommandExecution(prepared)
      channels.append(
        SSHChannel(command: execution, identifier: identifier) { continuation.resume(with: $0) })
    case .cancel(let identifier):
      if let channel = channels.first(where: { $0.identifier == identifier }) { interrupt(channel, .cancelled) }
    case .openTunnel(let target, let port, let continuation): tunnels.open(target, port, continuation)
    case .connect(let target, let file): tunnels.adopt(file, target)
    case .closeTunnel(let port): tunnels.close(port)
    case .close(let continuation): closing.append(continuation)
    }
  }

  // MARK: ending commands

  private func interruptOverdue() {
    for channel in channels {
      guard let execution = channel.execution, !channel.isComplete else { continue }
      if execution.endReason == nil, execution.deadline.hasPassed { interrupt(channel, .deadline) }
      if channel.lingerUntil.hasPassed {
        channel.lingerUntil = .never
        abandon(channel)
      }
    }
  }

  private func interrupt(_ channel: SSHChannel, _ reason: CommandExecution.EndReason) {
    guard let execution = channel.execution, !channel.isComplete else { return }
    switch execution.interrupt(reason) {
    case .nothing: break
    case .abandon: abandon(channel)
    case .end(let leader):
      let end = SSHChannel(plain: execution.prepared.endText(leader)) { [session] result in
        switch result {
        case .success(let result) where result.exitStatus == 0:
          // The channel closes by itself, unless a daemon holds it open.
          channel.lingerUntil = .after(.seconds(1))
        case .success(let result):
          channel.fail(
            Self.notEnded(execution, session, lastLine(of: result.errors) ?? "its processes are still there"))
          channel.lingerUntil = .now()
        case .failure(let error):
          channel.fail(error.code == "ssh.connection-lost" ? error : Self.notEnded(execution, session, error.message))
          channel.lingerUntil = .now()
        }
      }
      channels.insert(end, at: 0)
    }
  }

  private static func notEnded(_ execution: CommandExecution, _ session: SSHSession, _ words: String) -> ConvoyError {
    session.failure(
      "host.not-ended", "\(execution.prepared.command.displayName) could not be ended on the host: \(words)",
      hint: "look for it there: process \(execution.leader?.processID ?? 0) and its session")
  }

  /// Lets go of a channel; its caller hears at once.
  private func abandon(_ channel: SSHChannel) {
    if let error = channel.execution?.interruptionError { channel.fail(error) }
    switch channel.phase {
    case .waiting: channel.phase = .freed
    case .starting, .running: channel.phase = .closing
    case .opening, .closing, .freed: break
    }
  }

  // MARK: turning

  /// Gives every channel its turn; true when something has moved, so that there may be more to do.
  private func turn() -> Bool {
    guard socket.failure == nil else { return false }
    let received = socket.receivedCount
    var moved = advanceOpening()
    for channel in channels where socket.failure == nil {
      if advance(channel) { moved = true }
    }
    channels.removeAll { $0.phase == .freed }
    if tunnels.advance(mayOpen: opening == nil) { moved = true }
    listen()
    socket.flush()
    return moved || received != socket.receivedCount
  }

  private func listen() {
    guard let handle = listener?.handle else { return }
    var byte: CChar = 0
    let status = libssh2_channel_read_ex(handle, 0, &byte, 1)
    if status < 0 && status != Int(LIBSSH2_ERROR_EAGAIN) { socket.fail(session.lastErrorWords) }
  }

  private func advance(_ channel: SSHChannel) -> Bool {
    switch channel.phase {
    case .waiting, .opening, .freed: return false
    case .starting: return channel.start(socket)
    case .running: return channel.exchange(socket)
    case .closing:
      guard channel.close(session.handle) else { return false }
      if listener == nil {
        listener = channel
        channels.removeAll { $0 === channel }
        return true
      }
      return channel.free()
    }
  }

  private func advanceOpening() -> Bool {
    if let moment = retryOpening {
      guard moment.hasPassed else { return false }
      retryOpening = nil
    }
    if opening == nil && !tunnels.isOpening {
      let occupied = channels.count { $0.occupiesSession }
      opening = channels.first { channel in
        guard channel.phase == .waiting else { return false }
        // The last one is kept for ending commands.
        return channel.execution == nil || occupied < max(1, maximumSessions - 1)
      }
      opening?.phase = .opening
    }
    guard let channel = opening else { return false }
    let handle = libssh2_channel_open_ex(
      session.handle, "session", 7, 2 << 20, 32 << 10, nil,
      0)
    if let handle {
      opening = nil
      channel.handle = handle
      channel.phase = channel.isComplete ? .closing : .starting
      return true
    }
    let code = libssh2_session_last_errno(session.handle)
    if code == LIBSSH2_ERROR_EAGAIN { return false }
    opening = nil
    if socket.failure != nil {
      // Nobody has refused anything: `run` ends all of them with the connection.
      channel.phase = .waiting
      return false
    }
    let others = channels.count { $0.occupiesSession && $0 !== channel }
    if code == LIBSSH2_ERROR_CHANNEL_FAILURE && others == 0 && channel.mayBeRefusedAgain() {
      // The channel of the last command is closed, but sshd counts its session until the process is reaped.
      channel.phase = .waiting
      retryOpening = .after(.milliseconds(20))
      return false
    }
    if code == LIBSSH2_ERROR_CHANNEL_FAILURE && others > 0 && channel.execution != nil {
      // The server allows fewer than we thought: wait for one of the others to end.
      maximumSessions = min(maximumSessions, others)
      channel.phase = .waiting
      return false
    }
    channel.fail(
      session.failure(
        "ssh.channel-refused", "the server refused a session for a command: \(session.lastErrorWords)",
        hint: "sshd's MaxSessions must be 1 at least"))
    channel.phase = .freed
    return true
  }
}
