internal import BlockingIO
internal import CLibSSH2
internal import ReplicationModel

/// One exec channel of a session: waits for its turn, is opened, runs, is closed. Confined to the session's thread.
final class SSHChannel {
  enum Phase {
    case waiting
    case opening
    case starting
    case running
    case closing
    case freed
  }

  enum Purpose {
    /// Somebody's command.
    case command(CommandExecution)
    /// Ours: no standard input, all output kept.
    case plain
  }

  /// What `plain` channels end with.
  struct PlainResult {
    var exitStatus: Int32?
    var output: [UInt8]
    var errors: [UInt8]
  }

  let identifier: UInt64
  let text: String
  let purpose: Purpose
  var phase = Phase.waiting
  var handle: OpaquePointer?
  /// Called once.
  private var completion: ((Result<CommandResult, any Error>) -> Void)?
  private var plainCompletion: ((Result<PlainResult, ConvoyError>) -> Void)?
  private var plain = PlainResult(exitStatus: nil, output: [], errors: [])
  private var sentEOF = false
  /// When to give up waiting for the channel of a command that was ended.
  var lingerUntil = Deadline.never

  /// When to take a refusal for the last word.
  private var refusalEnds: Deadline?

  init(
    command: CommandExecution, identifier: UInt64,
    completion: @escaping (Result<CommandResult, any Error>) -> Void
  ) {
    self.identifier = identifier
    text = command.prepared.launchText
    purpose = .command(command)
    self.completion = completion
  }

  init(plain text: String, completion: @escaping (Result<PlainResult, ConvoyError>) -> Void) {
    identifier = 0
    self.text = text
    purpose = .plain
    plainCompletion = completion
  }

  var execution: CommandExecution? {
    if case .command(let execution) = purpose { return execution }
    return nil
  }

  var occupiesSession: Bool { phase != .waiting && phase != .freed }
  var isComplete: Bool { completion == nil && plainCompletion == nil }

  /// The server refused to open it; true for the next five seconds.
  func mayBeRefusedAgain() -> Bool {
    let end = refusalEnds ?? .after(.seconds(5))
    refusalEnds = end
    return !end.hasPassed
  }

  func fail(_ error: any Error) {
    completion?(.failure(error))
    completion = nil
    if let error = error as? ConvoyError { plainCompletion?(.failure(error)) }
    plainCompletion = nil
  }

  private func succeed(exitStatus: Int32?, exitSignal: String?) {
    if let execution { completion?(execution.finish(exitStatus: exitStatus, exitSignal: exitSignal)) }
    completion = nil
    plain.exitStatus = exitStatus
    plainCompletion?(.success(plain))
    plainCompletion = nil
  }

  /// Asks for the command. True when something has changed.
  func start(_ socket: SSHSocket) -> Bool {
    guard let handle else { return false }
    let status = text.withCString { text in
      libssh2_channel_process_startup(handle, "exec", 4, text, UInt32(self.text.utf8.count))
    }
    if status == LIBSSH2_ERROR_EAGAIN { return false }
    if status == 0 {
      phase = .running
    } else if socket.failure != nil {
      // Nobody has refused anything: the loop ends all channels with the connection.
      return false
    } else {
      succeed(exitStatus: nil, exitSignal: nil)
      phase = .closing
    }
    return true
  }

  /// Moves bytes both ways; true when some were moved or the phase has changed.
  func exchange(_ socket: SSHSocket) -> Bool {
    guard let handle else { return false }
    var moved = sendInput(handle, socket)
    for stream in [OutputStream.standardOutput, .standardError] {
      if receive(handle, stream) { moved = true }
    }
    // Both streams are empty here, so that the end is the end of both.
    if !moved, libssh2_channel_eof(handle) == 1, libssh2_channel_wait_closed(handle) == 0 {
      phase = .closing
      return true
    }
    return moved
  }

  private func sendInput(_ handle: OpaquePointer, _ socket: SSHSocket) -> Bool {
    var moved = false
    if let execution {
      while let first = execution.input.first, socket.pendingCount < 512 << 10 {
        let count = first.withUnsafeBytes { bytes in
          libssh2_channel_write_ex(
            handle, 0, bytes.baseAddress?.assumingMemoryBound(to: CChar.self).advanced(by: execution.inputOffset),
            min(first.count - execution.inputOffset, 32_000))
        }
        if count > 0 {
          execution.tookInput(count)
          moved = true
        } else {
          if count < 0 && count != Int(LIBSSH2_ERROR_EAGAIN) { execution.dropInput() }
          break
        }
      }
    }
    if !sentEOF && (execution?.inputIsFinished ?? true) && libssh2_channel_send_eof(handle) != LIBSSH2_ERROR_EAGAIN {
      sentEOF = true
      moved = true
    }
    return moved
  }

  private func receive(_ handle: OpaquePointer, _ stream: OutputStream) -> Bool {
    var moved = false
    withUnsafeTemporaryAllocation(byteCount: 128 << 10, alignment: 16) { buffer in
      for _ in 0..<16 {
        let count = libssh2_channel_read_ex(
          handle, stream == .standardOutput ? 0 : 1, buffer.baseAddress?.assumingMemoryBound(to: CChar.self),
          buffer.count)
        guard count > 0 else { return }
        moved = true
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        if let execution {
          execution.received(stream, bytes)
        } else if stream == .standardOutput {
          plain.output.append(contentsOf: bytes)
        } else {
          plain.errors.append(contentsOf: bytes)
        }
      }
    }
    return moved
  }

  /// Closes our side; true when the channel is closed on both. The handle stays for `free`.
  func close(_ session: OpaquePointer) -> Bool {
    guard let handle else { return true }
    guard libssh2_channel_close(handle) != LIBSSH2_ERROR_EAGAIN else { return false }
    var signal: UnsafeMutablePointer<CChar>?
    var length = 0
    libssh2_channel_get_exit_signal(handle, &signal, &length, nil, nil, nil, nil)
    if let signal {
      let name = UnsafeRawBufferPointer(start: signal, count: length)
      succeed(exitStatus: nil, exitSignal: String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))
      libssh2_free(session, signal)
    } else {
      succeed(exitStatus: libssh2_channel_get_exit_status(handle), exitSignal: nil)
    }
    return true
  }

  /// Frees the handle, once; true when done.
  func free() -> Bool {
    if let handle, libssh2_channel_free(handle) == LIBSSH2_ERROR_EAGAIN { return false }
    handle = nil
    phase = .freed
    return true
  }
}
