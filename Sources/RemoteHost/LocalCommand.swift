internal import BlockingIO
internal import Glibc
internal import ReplicationModel
internal import Synchronization

/// The loop of one local command; it blocks its thread until the command has ended.
struct LocalCommand {
  private let execution: CommandExecution
  private let control: LocalCommandControl

  init(_ prepared: PreparedCommand, control: LocalCommandControl) {
    execution = CommandExecution(prepared)
    self.control = control
  }

  func run() throws -> CommandResult {
    // A command that doesn't read its input must not end this process; the thread ends with the command.
    var pipeSignal = sigset_t()
    sigemptyset(&pipeSignal)
    sigaddset(&pipeSignal, SIGPIPE)
    pthread_sigmask(SIG_BLOCK, &pipeSignal, nil)

    var process = try SpawnedProcess.shell(
      execution.prepared.launchText, host: execution.prepared.host, wakeUp: control.wakeUp)
    defer { process.closeAll() }
    let ending = EndingState()
    var outputDeadline = Deadline.never

    while true {
      control.wakeUp.drain()
      if control.isCancelled || execution.deadline.hasPassed {
        interrupt(control.isCancelled ? .cancelled : .deadline, &process, ending)
      }
      while let first = execution.input.first {
        let count = process.writeInput(first, from: execution.inputOffset)
        if count < 0 { execution.dropInput() }
        if count <= 0 { break }
        execution.tookInput(count)
      }
      if execution.inputIsFinished { process.closeInput() }
      for stream in [OutputStream.standardOutput, .standardError] {
        process.readOutput(stream) { execution.received(stream, $0) }
      }
      if execution.inputIsFinished && execution.input.isEmpty { process.closeInput() }
      let exited = process.hasExited
      if exited && process.outputIsFinished { break }
      if exited && execution.endReason != nil && ending.isOver {
        // What is left holds our pipes but isn't in the session: a daemon. It has a moment to finish writing.
        if outputDeadline == .never { outputDeadline = .after(.seconds(1)) }
        if outputDeadline.hasPassed { break }
      }
      var waits: [(fileDescriptor: Int32, events: Int16)] = [(control.wakeUp.fileDescriptor, Int16(POLLIN))]
      waits += process.pollDescriptors(wantsToWrite: !execution.input.isEmpty)
      let deadline = execution.endReason == nil ? execution.deadline : .never
      _ = BlockingIO.poll(waits, until: min(deadline, outputDeadline))
    }
    let (status, signal) = process.reap()
    return try execution.finish(exitStatus: status, exitSignal: signal).get()
  }

  private func interrupt(
    _ reason: CommandExecution.EndReason, _ process: inout SpawnedProcess, _ ending: EndingState
  ) {
    switch execution.interrupt(reason) {
    case .nothing: break
    case .abandon:
      process.closeInput()
      // Ours to end, or it is root's (sudo), which then ends for want of input.
      process.killSession()
      ending.finish()
    case .end(let leader):
      let text = execution.prepared.endText(leader)
      let host = execution.prepared.host
      let wakeUp = control.wakeUp
      startThread(name: "local end") {
        let exited = WakeUp()
        if var end = try? SpawnedProcess.shell(text, host: host, wakeUp: exited) {
          end.closeInput()
          while !end.hasExited { _ = BlockingIO.poll([(exited.fileDescriptor, Int16(POLLIN))], until: .never) }
          _ = end.reap()
          end.closeAll()
        }
        ending.finish()
        wakeUp.signal()
      }
    }
  }
}

/// Whether the attempt to end the session is over.
private final class EndingState: Sendable {
  private let over = Mutex(false)
  var isOver: Bool { over.withLock { $0 } }
  func finish() { over.withLock { $0 = true } }
}
