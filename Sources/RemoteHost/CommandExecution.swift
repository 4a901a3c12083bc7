internal import BlockingIO
internal import ReplicationModel

/// One command on its way: what to send, what came back, why it is being ended. No I/O; a transport's thread owns it,
/// feeds it the bytes and does what it says.
final class CommandExecution {
  /// Why a command is ended before its time.
  enum EndReason: Sendable, Equatable {
    case cancelled
    case deadline
  }

  /// What the transport has to do after `interrupt`.
  enum Interruption {
    /// Nothing of the command has run, and nothing will when standard input is closed.
    case abandon
    /// End the session of this leader.
    case end(SessionLeader)
    case nothing
  }

  let prepared: PreparedCommand
  let started = Deadline.now()
  let deadline: Deadline
  private(set) var leader: SessionLeader?
  private(set) var endReason: EndReason?
  private var preamble: [UInt8] = []
  private var output: [UInt8] = []
  private var errors: [UInt8] = []

  /// Bytes for the command's standard input, in order; `inputOffset` counts within the first.
  private(set) var input: [[UInt8]]
  private(set) var inputOffset = 0

  init(_ prepared: PreparedCommand) {
    self.prepared = prepared
    deadline = prepared.command.deadline.map { Deadline.after($0) } ?? .never
    input = [Array((prepared.nonce + "\n").utf8)]
  }

  /// True when all of standard input has been taken, so that it can be closed.
  var inputIsFinished: Bool { input.isEmpty && (leader != nil || endReason != nil) }

  func tookInput(_ count: Int) {
    inputOffset += count
    if let first = input.first, inputOffset >= first.count {
      input.removeFirst()
      inputOffset = 0
    }
  }

  /// The reader is gone; nobody will take the rest.
  func dropInput() {
    input = []
    inputOffset = 0
  }

  func received(_ stream: OutputStream, _ bytes: UnsafeRawBufferPointer) {
    guard !bytes.isEmpty else { return }
    if stream == .standardError {
      deliver(stream, Array(bytes))
    } else if leader != nil {
      deliver(stream, Array(bytes))
    } else {
      preamble.append(contentsOf: bytes)
      findLeader()
    }
  }

  /// Looks for the launcher's answer: `NONCE PID STARTTIME`.
  private func findLeader() {
    let nonce = Array(prepared.nonce.utf8)
    guard let start = firstRange(of: nonce, in: preamble),
      let end = preamble[start...].firstIndex(of: UInt8(ascii: "\n"))
    else {
      if preamble.count > 1 << 20 { preamble.removeFirst(preamble.count - nonce.count - 64) }
      return
    }
    let fields = preamble[(start + nonce.count)..<end].split(separator: UInt8(ascii: " "))
    guard fields.count == 2, let processID = Int32(String(decoding: fields[0], as: UTF8.self)), processID > 1,
      let startTime = UInt64(String(decoding: fields[1], as: UTF8.self))
    else { return }
    leader = SessionLeader(processID: processID, startTime: startTime)
    // Nothing of the command has run yet: this is what login scripts had to say.
    errors = []
    if endReason == nil {
      input.append(prepared.script)
      if !prepared.command.standardInput.isEmpty { input.append(prepared.command.standardInput) }
    }
    let rest = Array(preamble[(end + 1)...])
    preamble = []
    if !rest.isEmpty { deliver(.standardOutput, rest) }
  }

  private func deliver(_ stream: OutputStream, _ bytes: [UInt8]) {
    let listener = prepared.command.onOutput
    if leader != nil { listener?(stream, bytes) }
    if stream == .standardOutput { output += bytes } else { errors += bytes }
    guard listener != nil else { return }
    let kept = 64 << 10
    if output.count > 4 * kept { output.removeFirst(output.count - kept) }
    if errors.count > 4 * kept { errors.removeFirst(errors.count - kept) }
  }

  /// The task was cancelled or the deadline has passed.
  func interrupt(_ reason: EndReason) -> Interruption {
    guard endReason == nil else { return .nothing }
    endReason = reason
    dropInput()
    if let leader { return .end(leader) }
    return .abandon
  }

  /// The error that an ended command's caller gets.
  var interruptionError: (any Error)? {
    switch endReason {
    case nil: nil
    case .cancelled: CancellationError()
    case .deadline:
      ConvoyError(
        "host.deadline",
        "\(prepared.command.displayName) did not finish within \(prepared.command.deadline ?? .zero) and was ended",
        at: .host(prepared.host), cause: lastLine(of: errors))
    }
  }

  func finish(exitStatus: Int32?, exitSignal: String?) -> Result<CommandResult, any Error> {
    if let interruptionError { return .failure(interruptionError) }
    guard leader != nil else { return .failure(launchError(exitStatus: exitStatus, exitSignal: exitSignal)) }
    var result = CommandResult(
      exitStatus: exitStatus, exitSignal: exitSignal, standardOutput: output, standardError: errors,
      duration: .nanoseconds(Int64(clamping: Deadline.now().nanoseconds - started.nanoseconds)))
    if prepared.command.onOutput != nil {
      result.standardOutput = Array(output.suffix(64 << 10))
      result.standardError = Array(errors.suffix(64 << 10))
    }
    return .success(result)
  }

  /// The launcher never answered: runuser, sudo or the login shell had something against it.
  private func launchError(exitStatus: Int32?, exitSignal: String?) -> ConvoyError {
    let end = CommandResult(exitStatus: exitStatus, exitSignal: exitSignal).endDescription
    let words = lastLine(of: errors) ?? lastLine(of: preamble) ?? end
    let place = ConvoyError.Place.host(prepared.host)
    let login = prepared.login
    guard let user = prepared.command.user, user != login.user else {
      return ConvoyError(
        "host.launch-failed", "the login shell of \(login.user) did not start a command: \(words)", at: place,
        hint: "the account needs a POSIX shell, and its start-up files must not end a shell that is not interactive")
    }
    if login.isRoot {
      return ConvoyError(
        "host.user-refused", "cannot run a command as \(user): \(words)", at: place,
        hint: "does the user exist on the host? try: runuser -u \(shellQuoted(user)) -- id")
    }
    return ConvoyError(
      "host.sudo-refused", "\(login.user) cannot run a command as \(user): \(words)", at: place,
      hint: "log in as \(user == "root" ? user : "\(user) or root"), or allow it without a password in sudoers: "
        + "\(login.user) ALL=(\(user)) NOPASSWD: ALL")
  }
}

func firstRange(of needle: [UInt8], in bytes: [UInt8]) -> Int? {
  guard let first = needle.first, bytes.count >= needle.count else { return nil }
  var index = bytes.startIndex
  while let next = bytes[index...].firstIndex(of: first), next + needle.count <= bytes.count {
    if bytes[next..<(next + needle.count)].elementsEqual(needle) { return next }
    index = next + 1
  }
  return nil
}
