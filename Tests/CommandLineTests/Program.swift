import Glibc
import ReplicationModel

/// What one run of the program said and how it ended.
struct ProgramResult {
  var status: Int32
  var output: String
  var errors: String

  /// What goes to standard error, line by line.
  var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
}

struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// The program as it was built, beside the test runner.
let programPath: String = {
  guard let runner = realpath("/proc/self/exe", nil) else { return "pgconvoy" }
  defer { free(runner) }
  let path = String(cString: runner)
  return (path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ".") + "/pgconvoy"
}()

/// A directory of its own for one test, removed with the object.
final class Workspace: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/pgconvoy-cli.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp: \(errno)") }
    path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { _ = try? spawn(["rm", "-rf", "--", path], directory: "/") }

  func write(_ text: String, to name: String) throws {
    let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw TestFailure("cannot write \(name): \(errno)") }
    defer { close(file) }
    let bytes = Array(text.utf8)
    guard Glibc.write(file, bytes, bytes.count) == bytes.count else { throw TestFailure("cannot write \(name)") }
  }

  func read(_ name: String) throws -> String {
    let file = open("\(path)/\(name)", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw TestFailure("cannot read \(name): \(errno)") }
    defer { close(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = Glibc.read(file, &buffer, buffer.count)
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  func exists(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }

  /// Runs pgconvoy in this directory. A run that hangs is ended after a minute, with exit status 124.
  func run(_ arguments: String..., input: String = "") throws -> ProgramResult {
    try run(arguments, input: input)
  }

  func run(_ arguments: [String], input: String = "") throws -> ProgramResult {
    try write(input, to: ".stdin")
    return try result(of: ["timeout", "-k", "5", "60", programPath] + arguments)
  }

  /// Runs a shell script, in which `$0` is pgconvoy, in this directory.
  func run(script: String) throws -> ProgramResult {
    try write("", to: ".stdin")
    return try result(of: ["timeout", "-k", "5", "60", "sh", "-c", script, programPath])
  }

  private func result(of command: [String]) throws -> ProgramResult {
    let status = try spawn(command, directory: path)
    return ProgramResult(status: status, output: try read(".stdout"), errors: try read(".stderr"))
  }
}

/// Runs a program to its end with its streams in files of the directory, so that no pipe can fill up.
private func spawn(_ arguments: [String], directory: String) throws -> Int32 {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  let isWorkspace = directory != "/"
  posix_spawn_file_actions_addopen(&actions, 0, isWorkspace ? directory + "/.stdin" : "/dev/null", O_RDONLY, 0)
  let flags = O_WRONLY | O_CREAT | O_TRUNC
  posix_spawn_file_actions_addopen(&actions, 1, isWorkspace ? directory + "/.stdout" : "/dev/null", flags, 0o644)
  posix_spawn_file_actions_addopen(&actions, 2, isWorkspace ? directory + "/.stderr" : "/dev/null", flags, 0o644)
  var words: [UnsafeMutablePointer<CChar>?] = (["env", "-C", directory] + arguments).map { strdup($0) }
  words.append(nil)
  defer { for word in words { free(word) } }
  // The runner's own settings must not reach the program: COLUMNS, for one, changes how its help is wrapped.
  var environment: [UnsafeMutablePointer<CChar>?] = []
  for name in ["PATH", "HOME", "PGCONVOY_TEST_RUN", "LD_LIBRARY_PATH"] {
    if let value = getenv(name) { environment.append(strdup("\(name)=\(String(cString: value))")) }
  }
  environment.append(nil)
  defer { for word in environment { free(word) } }
  var process: pid_t = 0
  let code = posix_spawnp(&process, "env", &actions, nil, &words, &environment)
  guard code == 0 else { throw TestFailure("cannot run \(arguments[0]): \(code)") }
  var status: Int32 = 0
  while waitpid(process, &status, 0) < 0 {
    guard errno == EINTR else { throw TestFailure("waitpid: \(errno)") }
  }
  return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
}

/// Two hosts at ports where nobody listens: connections are refused at once.
let deadInventory = """
  hosts:
    one: { address: 127.0.0.1, ssh: { port: 1 }, postgres: { port: 1 } }
    two: { address: 127.0.0.1, ssh: { port: 1 }, postgres: { port: 2 } }
  migrations:
    m: { source: one, target: two }

  """
