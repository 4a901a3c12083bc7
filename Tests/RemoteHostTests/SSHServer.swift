import Glibc
import RemoteHost
import Synchronization

/// A directory that is removed with the object.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/pgconvoy-ssh.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp: \(errno)") }
    path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    chmod(path, 0o755)
  }

  deinit {
    _ = runProgram(["rm", "-rf", "--", path])
  }

  func write(_ text: String, to name: String, mode: mode_t = 0o644) throws {
    let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode)
    guard file >= 0 else { throw TestFailure("cannot write \(name): \(errno)") }
    defer { close(file) }
    let bytes = Array(text.utf8)
    guard Glibc.write(file, bytes, bytes.count) == bytes.count else { throw TestFailure("cannot write \(name)") }
    fchmod(file, mode)
  }

  func read(_ name: String) -> String {
    runProgram(["cat", "\(path)/\(name)"]).output
  }
}

struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Runs a program to its end, for fixtures only.
@discardableResult
func runProgram(_ arguments: [String], environment: [String] = []) -> (status: Int32, output: String) {
  var ends: [Int32] = [-1, -1]
  guard pipe(&ends) == 0 else { return (-1, "") }
  for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
  var words: [UnsafeMutablePointer<CChar>?] = []
  for argument in arguments { words.append(strdup(argument)) }
  words.append(nil)
  defer { for word in words { free(word) } }
  var process: pid_t = 0
  let code = posix_spawnp(&process, arguments[0], &actions, nil, &words, environ)
  close(ends[1])
  var output: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 4096)
  while code == 0 {
    let count = Glibc.read(ends[0], &buffer, buffer.count)
    if count > 0 { output += buffer[..<count] } else { break }
  }
  close(ends[0])
  guard code == 0 else { return (-1, "") }
  var status: Int32 = 0
  waitpid(process, &status, 0)
  return ((status >> 8) & 0xFF, String(decoding: output, as: UTF8.self))
}

/// A program that goes on running until it is ended by its process id.
final class BackgroundProgram: Sendable {
  let processID: pid_t

  init(_ arguments: [String], log: String) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var words: [UnsafeMutablePointer<CChar>?] = []
    for argument in arguments { words.append(strdup(argument)) }
    words.append(nil)
    defer { for word in words { free(word) } }
    // Swift's own threads block signals, and a child would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    var process: pid_t = 0
    let code = posix_spawn(&process, arguments[0], &actions, &attributes, &words, environ)
    guard code == 0 else { throw TestFailure("cannot start \(arguments[0]): \(code)") }
    processID = process
  }

  deinit {
    kill(processID, SIGTERM)
    var status: Int32 = 0
    waitpid(processID, &status, 0)
  }
}

func freePort() throws -> UInt16 {
  let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(file) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = inet_addr(SSHServer.address)
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let done = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(file, $0, length) == 0 && getsockname(file, $0, &length) == 0
    }
  }
  guard done else { throw TestFailure("no free port: \(errno)") }
  return UInt16(bigEndian: address.sin_port)
}

/// An sshd of the test's own: its own host keys, configuration and user keys in a directory of its own.
final class SSHServer: Sendable {
  static let address = "127.0.0.31"

  let directory: TemporaryDirectory
  let port: UInt16
  private let sshd: BackgroundProgram

  /// - Parameters:
  ///   - hostKeys: of `ed25519`, `ecdsa`, `rsa`.
  ///   - configuration: more lines for sshd_config.
  init(hostKeys: [String] = ["ed25519", "ecdsa"], configuration: String = "") throws {
    directory = try TemporaryDirectory()
    port = try freePort()
    let path = directory.path
    for type in hostKeys { try Self.makeKey("\(path)/host_\(type)", type) }
    try Self.makeKey("\(path)/user_ed25519", "ed25519")
    try directory.write(directory.read("user_ed25519.pub"), to: "authorized_keys")
    var knownHosts = ""
    for type in hostKeys {
      let words = directory.read("host_\(type).pub").split(separator: " ")
      knownHosts += "[\(Self.address)]:\(port) \(words[0]) \(words[1])\n"
    }
    try directory.write(knownHosts, to: "known_hosts")
    try directory.write(
      """
      ListenAddress \(Self.address):\(port)
      \(hostKeys.map { "HostKey \(path)/host_\($0)" }.joined(separator: "\n"))
      PidFile \(path)/sshd.pid
      AuthorizedKeysFile \(path)/authorized_keys
      StrictModes no
      UsePAM \(geteuid() == 0 ? "yes" : "no")
      PasswordAuthentication no
      KbdInteractiveAuthentication no
      PermitRootLogin yes
      PrintMotd no
      MaxStartups 100
      LogLevel VERBOSE
      \(configuration)

      """, to: "sshd_config")
    // sshd's own directory for its unprivileged part; packages make it when the service starts.
    if geteuid() == 0 { mkdir("/run/sshd", 0o755) }
    sshd = try BackgroundProgram(
      ["/usr/sbin/sshd", "-D", "-e", "-f", "\(path)/sshd_config"], log: "\(path)/log")
    for _ in 0..<500 {
      if canConnect() { return }
      usleep(20_000)
    }
    throw TestFailure("sshd did not start: \(directory.read("log"))")
  }

  static func makeKey(_ path: String, _ type: String, passphrase: String = "") throws {
    let result = runProgram(["ssh-keygen", "-q", "-t", type, "-N", passphrase, "-C", "test", "-f", path])
    guard result.status == 0 else { throw TestFailure("ssh-keygen: \(result.output)") }
    // Must be found without it.
    if path.hasSuffix("_noPublic") { unlink(path + ".pub") }
  }

  private func canConnect() -> Bool {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(file) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr(Self.address)
    address.sin_port = port.bigEndian
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }

  /// The processes of sshd that serve connections: one, or a monitor and its child, depending on the user.
  var connectionProcesses: [pid_t] { Self.children(of: sshd.processID) }

  private static func children(of process: pid_t) -> [pid_t] {
    let list = runProgram(["cat", "/proc/\(process)/task/\(process)/children"]).output
    let children = list.split(separator: " ").compactMap { pid_t($0) }
      .filter { runProgram(["cat", "/proc/\($0)/comm"]).output == "sshd\n" }
    return children + children.flatMap { self.children(of: $0) }
  }

  static var me: String { runProgram(["id", "-un"]).output.split(separator: "\n").first.map { String($0) } ?? "root" }

  func parameters(user: String = SSHServer.me) -> SSHParameters {
    SSHParameters(
      name: "db1", host: Self.address, port: port, user: user, identityFile: "\(directory.path)/user_ed25519",
      knownHostsFile: "\(directory.path)/known_hosts", useAgent: false, connectTimeout: .seconds(20))
  }

  /// The fingerprint as `ssh-keygen -l` prints it.
  func fingerprint(_ name: String) -> String {
    let words = runProgram(["ssh-keygen", "-lf", "\(directory.path)/\(name).pub"]).output.split(separator: " ")
    return words.count > 1 ? String(words[1]) : ""
  }
}

func withHost<Result>(
  _ server: SSHServer, user: String = SSHServer.me, _ body: (SSHHost) async throws -> Result
) async throws -> Result {
  let host = try await connectSSH(server.parameters(user: user))
  do {
    let result = try await body(host)
    await host.close()
    return result
  } catch {
    await host.close()
    throw error
  }
}
