package import BlockingIO
import Glibc
import ReplicationModel

/// Programs that the lab runs. A child gets an empty signal mask, default handlers, no descriptor of ours, the
/// root directory to work in (the caller's may be closed to another user) and only the environment given.
enum ChildProcess {
  struct Result {
    /// The exit status; 128 and the signal's number for a program that a signal ended.
    var status: Int32
    /// Standard output and error together, without the last line end.
    var output: String
  }

  /// Held from the making of a pipe until its child runs: otherwise another thread's child could keep the pipe open.
  private static let spawnLock = ConditionVariable()
  /// Nothing in glibc's Swift module changes a child's directory, so a shell does, and becomes the program.
  private static let inRootDirectory = ["/bin/sh", "-c", "cd / && exec \"$@\"", "sh"]

  static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// Runs a program to its end. Blocks; not for the cooperative pool.
  ///
  /// A program that leaves a process behind must give it other standard streams than its own.
  static func run(
    _ program: String, _ arguments: [String], environment: [String: String] = [:], as user: Account? = nil
  ) throws -> Result {
    var words = [program] + arguments
    if let user, geteuid() == 0, user.uid != 0 { words = ["/usr/sbin/runuser", "-u", user.name, "--"] + words }
    var ends: [Int32] = [-1, -1]
    defer { if ends[0] >= 0 { close(ends[0]) } }
    let pid = try spawnLock.withLock {
      guard pipe(&ends) == 0 else { throw systemError("make a pipe for", program) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      defer { close(ends[1]) }
      return try spawn(words, environment: environment, output: ends[1])
    }
    let output = readAll(ends[0]) ?? []
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    let signal = status & 0x7f
    return Result(
      status: signal == 0 ? (status >> 8) & 0xff : 128 + signal,
      output: String(decoding: output, as: UTF8.self).trimmingLineEnds())
  }

  /// Like `run`, but anything else than exit status 0 is an error with the program's last line in it.
  @discardableResult
  static func check(
    _ program: String, _ arguments: [String], environment: [String: String] = [:], as user: Account? = nil,
    at place: ConvoyError.Place? = nil
  ) throws -> String {
    let result = try run(program, arguments, environment: environment, as: user)
    guard result.status == 0 else {
      let name = program.split(separator: "/").last.map(String.init) ?? program
      throw ConvoyError(
        "lab.command-failed",
        "\(name) failed with status \(result.status): \(result.output.split(separator: "\n").last ?? "no output")",
        at: place, cause: result.output)
    }
    return result.output
  }

  /// Starts a program that outlives this one, in a session of its own, its output appended to a log.
  ///
  /// The process writes its own pid to a file before it becomes the program, so that whoever cleans up after a
  /// killed `lab up` finds it.
  static func startDaemon(
    _ program: String, _ arguments: [String], environment: [String: String], pidFile: String, log: String
  ) throws {
    let script = "echo $$ >\"$0\"; log=$1; shift; exec \"$@\" >>\"$log\" 2>&1 </dev/null"
    try check(
      "/usr/bin/setsid", ["--fork", "/bin/sh", "-c", script, pidFile, log, program] + arguments,
      environment: environment)
  }

  private static func spawn(_ words: [String], environment: [String: String], output: Int32) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    for name in directoryEntries("/proc/self/fd") {
      if let descriptor = Int32(name), descriptor > 2 { posix_spawn_file_actions_addclose(&actions, descriptor) }
    }

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD] { sigaddset(&signals, signal) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    var variables = environment
    variables["PATH"] = variables["PATH"] ?? path
    if let library = getenv("LD_LIBRARY_PATH") { variables["LD_LIBRARY_PATH"] = String(cString: library) }
    let command = inRootDirectory + words
    var argv = command.map { strdup($0) } + [nil]
    var envp = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let status = posix_spawn(&pid, command[0], &actions, &attributes, &argv, &envp)
    guard status == 0 else {
      throw ConvoyError(
        "lab.command-failed", "cannot run \(words[0]): \(String(cString: strerror(status)))")
    }
    return pid
  }
}

extension String {
  func trimmingLineEnds() -> String {
    var text = self[...]
    while text.last == "\n" || text.last == "\r\n" { text.removeLast() }
    return String(text)
  }
}

/// Waits until a condition that nothing announces holds; false when the deadline passes first. Blocks the thread.
package func waitUntil(
  _ deadline: Deadline, every milliseconds: Int64 = 10, _ condition: () throws -> Bool
) rethrows -> Bool {
  while true {
    if try condition() { return true }
    if deadline.hasPassed { return false }
    _ = poll([], until: min(deadline, .after(.milliseconds(milliseconds))))
  }
}
