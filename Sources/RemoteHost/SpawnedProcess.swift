internal import BlockingIO
internal import CLibSSH2
internal import Glibc
internal import ReplicationModel
internal import Synchronization

/// A child process in a session of its own, with three pipes and no other descriptor of ours.
///
/// A thread waits for its exit without reaping it, so that its id stays taken until `reap()`.
struct SpawnedProcess {
  private let processID: pid_t
  private let exit = ExitState()
  private var input: Int32
  private var output: Int32
  private var errors: Int32

  /// Starts `/bin/sh -c text`, the way sshd has the login shell start it.
  ///
  /// - Parameter wakeUp: signalled when the process has exited.
  /// - Throws: `host.launch-failed`.
  static func shell(_ text: String, host: String, wakeUp: WakeUp) throws -> SpawnedProcess {
    var pipes: [(read: Int32, write: Int32)] = []
    func refuse(_ words: String, _ code: Int32) -> ConvoyError {
      for pipe in pipes {
        close(pipe.read)
        close(pipe.write)
      }
      return ConvoyError("host.launch-failed", "\(words): \(errorWords(code))", at: .host(host))
    }
    for _ in 0..<3 {
      var ends: [Int32] = [-1, -1]
      guard pipe(&ends) == 0 else { throw refuse("cannot make a pipe", errno) }
      pipes.append((ends[0], ends[1]))
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, pipes[0].read, 0)
    posix_spawn_file_actions_adddup2(&actions, pipes[1].write, 1)
    posix_spawn_file_actions_adddup2(&actions, pipes[2].write, 2)
    _ = convoy_spawn_close_from(&actions, 3)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, convoy_spawn_flags())
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)

    var arguments: [UnsafeMutablePointer<CChar>?] = []
    for argument in ["sh", "-c", text] { arguments.append(strdup(argument)) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var processID: pid_t = 0
    let code = posix_spawn(&processID, "/bin/sh", &actions, &attributes, &arguments, environ)
    guard code == 0 else { throw refuse("cannot start /bin/sh", code) }
    close(pipes[0].read)
    close(pipes[1].write)
    close(pipes[2].write)
    for end in [pipes[0].write, pipes[1].read, pipes[2].read] {
      _ = fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK)
    }
    return SpawnedProcess(
      processID: processID, input: pipes[0].write, output: pipes[1].read, errors: pipes[2].read, wakeUp: wakeUp)
  }

  private init(processID: pid_t, input: Int32, output: Int32, errors: Int32, wakeUp: WakeUp) {
    self.processID = processID
    self.input = input
    self.output = output
    self.errors = errors
    let exit = self.exit
    startThread(name: "local wait") {
      var information = siginfo_t()
      while waitid(P_PID, id_t(processID), &information, WEXITED | WNOWAIT) != 0 && errno == EINTR {}
      exit.set()
      wakeUp.signal()
    }
  }

  var hasExited: Bool { exit.isSet }
  var outputIsFinished: Bool { output < 0 && errors < 0 }

  /// How much was taken: 0 when there is no room now, -1 when nobody reads any more.
  func writeInput(_ bytes: [UInt8], from offset: Int) -> Int {
    guard input >= 0 else { return -1 }
    let count = bytes.withUnsafeBytes { buffer in
      write(input, buffer.baseAddress.map { $0 + offset }, min(buffer.count - offset, 256 << 10))
    }
    if count >= 0 { return count }
    return errno == EAGAIN || errno == EINTR ? 0 : -1
  }

  mutating func closeInput() {
    if input >= 0 { close(input) }
    input = -1
  }

  /// Hands over what is there, 1 MiB at most; closes the pipe at its end.
  mutating func readOutput(_ stream: OutputStream, _ body: (UnsafeRawBufferPointer) -> Void) {
    let descriptor = stream == .standardOutput ? output : errors
    guard descriptor >= 0 else { return }
    withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 16) { buffer in
      for _ in 0..<16 {
        let count = read(descriptor, buffer.baseAddress, buffer.count)
        if count > 0 {
          body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        } else {
          if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
          close(descriptor)
          if stream == .standardOutput { output = -1 } else { errors = -1 }
          return
        }
      }
    }
  }

  func pollDescriptors(wantsToWrite: Bool) -> [(fileDescriptor: Int32, events: Int16)] {
    var descriptors: [(fileDescriptor: Int32, events: Int16)] = []
    if output >= 0 { descriptors.append((output, Int16(POLLIN))) }
    if errors >= 0 { descriptors.append((errors, Int16(POLLIN))) }
    if input >= 0 && wantsToWrite { descriptors.append((input, Int16(POLLOUT))) }
    return descriptors
  }

  func killSession() {
    kill(-processID, SIGKILL)
  }

  /// Takes the exit status; once, after `hasExited`.
  func reap() -> (exitStatus: Int32?, exitSignal: String?) {
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0 && errno == EINTR {}
    let signal = status & 0x7F
    return signal == 0 ? ((status >> 8) & 0xFF, nil) : (nil, signalName(signal))
  }

  mutating func closeAll() {
    for descriptor in [input, output, errors] where descriptor >= 0 { close(descriptor) }
    input = -1
    output = -1
    errors = -1
  }

  private final class ExitState: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
  }
}

/// `No such file or directory` in lowercase.
func errorWords(_ code: Int32) -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
  return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).lowercased()
}

/// The names that SSH uses: without `SIG`.
private func signalName(_ number: Int32) -> String {
  let names: [Int32: String] = [
    SIGHUP: "HUP", SIGINT: "INT", SIGQUIT: "QUIT", SIGILL: "ILL", SIGABRT: "ABRT", SIGFPE: "FPE", SIGKILL: "KILL",
    SIGSEGV: "SEGV", SIGPIPE: "PIPE", SIGALRM: "ALRM", SIGTERM: "TERM", SIGUSR1: "USR1", SIGUSR2: "USR2",
    SIGBUS: "BUS",
  ]
  return names[number] ?? "\(number)"
}
