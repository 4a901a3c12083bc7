import BlockingIO
import Glibc
import ReplicationModel

@testable import Lab

/// A program under test that runs: started, watched, killed.
///
/// Its standard streams go to files, so that nothing that it leaves behind can hold the test up.
final class Program: Sendable {
  struct Result: Sendable {
    /// The exit status; 128 and the signal's number when a signal ended it.
    var status: Int32
    var output: String
    var errors: String
    /// For a failed expectation.
    var text: String { "status \(status)\n\(output)\n\(errors)" }
  }

  let pid: pid_t
  private let outputPath: String
  private let errorPath: String

  /// - Parameter directory: where the files with its output go.
  init(_ program: String, _ arguments: [String], directory: String) throws {
    let name = "\(directory)/run-\(HandOffNames.random().nonce)"
    outputPath = name + ".out"
    errorPath = name + ".err"
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, errorPath, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    for name in directoryEntries("/proc/self/fd") {
      if let descriptor = Int32(name), descriptor > 2 { posix_spawn_file_actions_addclose(&actions, descriptor) }
    }
    var variables = ["PATH=\(ChildProcess.path)", "LC_ALL=C"]
    for name in ["HOME", "LD_LIBRARY_PATH"] {
      if let value = getenv(name) { variables.append("\(name)=\(String(cString: value))") }
    }
    let argv = ([program] + arguments).map { strdup($0) } + [nil]
    let envp = variables.map { strdup($0) } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let status = posix_spawn(&pid, program, &actions, nil, argv, envp)
    guard status == 0 else { throw systemError("run", program) }
    self.pid = pid
  }

  /// Waits for the program's end, once.
  func result() async throws -> Result {
    let pid = self.pid
    let status = try await onDedicatedThread("wait") {
      var status: Int32 = 0
      while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
      return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }
    return Result(status: status, output: output, errors: (try? readText(errorPath)) ?? "")
  }

  /// What it has written to its standard output so far.
  var output: String { (try? readText(outputPath)) ?? "" }

  func signal(_ number: Int32) { Glibc.kill(pid, number) }

  /// Waits until its output has a text; false when it did not come in time or the program ended without it.
  func says(_ text: String, within limit: Duration = .seconds(60)) async throws -> Bool {
    let deadline = Deadline.after(limit)
    while !output.contains(text) {
      var info = siginfo_t()
      let hasEnded = waitid(P_PID, id_t(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_signo == SIGCHLD
      if hasEnded || deadline.hasPassed { return output.contains(text) }
      try await Task.sleep(for: .milliseconds(5))
    }
    return true
  }
}

/// A generator with a seed, so that a failure can be had again.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

struct TimedOut: Error, CustomStringConvertible {
  var description: String
}

/// Waits for what nothing announces.
func eventually(
  _ what: String, within limit: Duration = .seconds(40), _ condition: () async throws -> Bool
) async throws {
  let deadline = Deadline.after(limit)
  while try await !condition() {
    if deadline.hasPassed { throw TimedOut(description: "waited \(limit) for: \(what)") }
    try await Task.sleep(for: .milliseconds(50))
  }
}
