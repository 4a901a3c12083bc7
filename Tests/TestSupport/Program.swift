import BlockingIO
package import Glibc
package import Lab
import Synchronization

/// A program that a test starts, watches and ends.
///
/// It runs in a session of its own, with default signal handlers, only the environment given, and its standard streams
/// in files, so that nothing that it leaves behind can hold the test up. Unless it was waited for, it ends with the
/// object.
package final class Program: Sendable {
  package struct Result: Sendable {
    /// The exit status; 128 and the signal's number when a signal ended it.
    package var status: Int32
    package var output: String
    package var errors: String

    /// For a failed expectation.
    package var text: String { "status \(status)\n\(output)\n\(errors)" }
    /// What goes to standard error, line by line.
    package var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
  }

  package let pid: pid_t
  private let name: String
  private let streams: TemporaryDirectory
  /// Nil until the program was waited for: until then its pid is nobody else's.
  private let ending = Mutex<Result?>(nil)

  /// - Parameters:
  ///   - words: the program, by its path or found in `PATH`, and its arguments.
  ///   - input: its standard input.
  ///   - directory: where it works; `/` is open to every user.
  ///   - environment: beside `PATH`, `HOME`, `LC_ALL=C` and what the build needs.
  ///   - user: takes effect where root runs the tests.
  package init(
    _ words: [String], input: String = "", in directory: String = "/", environment: [String: String] = [:],
    as user: Account? = nil
  ) throws {
    name = words.first ?? ""
    streams = try TemporaryDirectory("run")
    try streams.write(input, to: "in")
    pid = try spawn(
      Self.become(user) + ["/usr/bin/env", "-C", directory, "--"] + words,
      environment: Self.environment.merging(environment) { $1 }, streams: streams.path)
  }

  deinit { end() }

  /// Runs a program to its end. Blocks; in a test's body `result` is better.
  @discardableResult
  package static func run(
    _ words: [String], input: String = "", in directory: String = "/", environment: [String: String] = [:],
    as user: Account? = nil
  ) throws -> Result {
    try Program(words, input: input, in: directory, environment: environment, as: user).wait()
  }

  /// Like `run`; anything else than exit status 0 is an error. Returns the output.
  @discardableResult
  package static func check(
    _ words: [String], input: String = "", in directory: String = "/", environment: [String: String] = [:],
    as user: Account? = nil
  ) throws -> String {
    let result = try run(words, input: input, in: directory, environment: environment, as: user)
    guard result.status == 0 else { throw TestFailure("\(words.joined(separator: " ")): \(result.text)") }
    return result.output
  }

  /// What every program gets: nothing of the runner's own settings, such as `COLUMNS`. `./test` knows by
  /// `PGCONVOY_TEST_RUN` what is left of a run.
  package static let environment: [String: String] = {
    var variables = ["PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"]
    for name in ["HOME", "LD_LIBRARY_PATH", "PGCONVOY_TEST_RUN"] {
      if let value = getenv(name) { variables[name] = String(cString: value) }
    }
    return variables
  }()

  private static func become(_ user: Account?) -> [String] {
    guard let user, geteuid() == 0, user.uid != 0 else { return [] }
    return ["/usr/sbin/runuser", "-u", user.name, "--"]
  }

  // MARK: watching

  /// What it has written to its standard output so far.
  package var output: String { ending.withLock { $0?.output ?? written("out") } }
  package var errors: String { ending.withLock { $0?.errors ?? written("err") } }

  private func written(_ stream: String) -> String { (try? streams.read(stream)) ?? "" }

  package var hasEnded: Bool {
    var info = siginfo_t()
    // An error: it was waited for.
    return waitid(P_PID, id_t(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_signo == SIGCHLD
  }

  /// Waits until its output has a text; false when it did not come in time or the program ended without it.
  package func says(_ text: String, within limit: Duration = .seconds(60)) async throws -> Bool {
    let deadline = Deadline.after(limit)
    while !output.contains(text) {
      if hasEnded || deadline.hasPassed { return output.contains(text) }
      try await Task.sleep(for: .milliseconds(5))
    }
    return true
  }

  // MARK: ending

  /// Does nothing once the program was waited for.
  package func signal(_ number: Int32) {
    ending.withLock { if $0 == nil { kill(pid, number) } }
  }

  /// Waits for the program's end.
  package func result() async throws -> Result {
    try await onDedicatedThread("wait") { self.wait() }
  }

  /// Waits for the program's end. Blocks.
  package func wait() -> Result {
    var info = siginfo_t()
    while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR {}
    return reap()
  }

  /// Tells the program to end, and makes an end of its whole session when it has ended, or has not in time. Blocks.
  package func end(within patience: Duration = .seconds(10)) {
    guard ending.withLock({ $0 == nil }) else { return }
    signal(SIGTERM)
    if !waitUntil(.after(patience), { hasEnded }) { signal(SIGKILL) }
    // Before the program is waited for, its pid is that of its session and of no other.
    _ = waitUntil(.after(.seconds(5))) {
      let left = directoryEntries("/proc").compactMap { pid_t($0) }.filter { $0 != pid && getsid($0) == pid }
      for process in left { kill(process, SIGKILL) }
      return left.allSatisfy { ProcessEntry(pid: $0)?.isAlive != true }
    }
    _ = wait()
  }

  /// Of a program that has ended. Its files go here and not with the object, which a thread that waited for it may hold
  /// until the tests' own end.
  private func reap() -> Result {
    ending.withLock { known in
      if let known { return known }
      var status: Int32 = 0
      while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
      let value = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
      let result = Result(status: value, output: written("out"), errors: written("err"))
      known = result
      streams.remove()
      return result
    }
  }
}

/// Starts a program with its streams in the files `in`, `out` and `err` of a directory, and no other descriptor.
private func spawn(_ words: [String], environment: [String: String], streams: String) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  let flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND
  posix_spawn_file_actions_addopen(&actions, 0, streams + "/in", O_RDONLY, 0)
  posix_spawn_file_actions_addopen(&actions, 1, streams + "/out", flags, 0o600)
  posix_spawn_file_actions_addopen(&actions, 2, streams + "/err", flags, 0o600)
  for name in directoryEntries("/proc/self/fd") {
    if let descriptor = Int32(name), descriptor > 2 { posix_spawn_file_actions_addclose(&actions, descriptor) }
  }

  // Swift's own threads block signals, and a child would inherit that.
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var signals = sigset_t()
  sigemptyset(&signals)
  posix_spawnattr_setsigmask(&attributes, &signals)
  for signal in [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD] { sigaddset(&signals, signal) }
  posix_spawnattr_setsigdefault(&attributes, &signals)
  // POSIX_SPAWN_SETSID, which glibc shows to GNU sources only.
  let ownSession: Int32 = 0x80
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | ownSession))

  var argv = words.map { strdup($0) } + [nil]
  var envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
  defer { for pointer in argv + envp { free(pointer) } }
  var pid: pid_t = 0
  let status = posix_spawn(&pid, words[0], &actions, &attributes, &argv, &envp)
  guard status == 0 else { throw TestFailure("cannot run \(words[0]): \(String(cString: strerror(status)))") }
  return pid
}
