import BlockingIO
import Glibc
import Lab
import RemoteHost
import TestSupport

/// An sshd of the test's own: its own host keys, configuration and user keys in a directory of its own.
final class SSHServer: Sendable {
  static let address = "127.0.0.31"

  let directory: TemporaryDirectory
  let port: UInt16
  private let sshd: Program

  /// - Parameters:
  ///   - hostKeys: of `ed25519`, `ecdsa`, `rsa`.
  ///   - configuration: more lines for sshd_config.
  init(hostKeys: [String] = ["ed25519", "ecdsa"], configuration: String = "") throws {
    directory = try TemporaryDirectory("ssh", mode: 0o755)
    port = UInt16(try freePort(on: Self.address))
    let path = directory.path
    for type in hostKeys { try Self.makeKey("\(path)/host_\(type)", type) }
    try Self.makeKey("\(path)/user_ed25519", "ed25519")
    try directory.write(try directory.read("user_ed25519.pub"), to: "authorized_keys")
    var knownHosts = ""
    for type in hostKeys {
      let words = try directory.read("host_\(type).pub").split(separator: " ")
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
    sshd = try Program(["/usr/sbin/sshd", "-D", "-e", "-f", "\(path)/sshd_config"])
    let listens = waitUntil(.after(.seconds(10)), every: 20) { isListening(Int(port), on: Self.address) }
    guard listens else { throw TestFailure("sshd did not start: \(sshd.errors)") }
  }

  /// Connections outlive it: each has a session of its own.
  deinit { sshd.end() }

  static func makeKey(_ path: String, _ type: String, passphrase: String = "") throws {
    try Program.check(["ssh-keygen", "-q", "-t", type, "-N", passphrase, "-C", "test", "-f", path])
    // Must be found without it.
    if path.hasSuffix("_noPublic") { unlink(path + ".pub") }
  }

  /// The processes of sshd that serve connections: one, or a monitor and its child, depending on the user.
  var connectionProcesses: [pid_t] {
    let table = ProcessTable.snapshot()
    let served = table.descendants(of: table.entries.filter { $0.pid == sshd.pid })
    return served.filter { $0.command == "sshd" && $0.pid != sshd.pid }.map(\.pid)
  }

  static let me = Account.current().name

  func parameters(user: String = SSHServer.me) -> SSHParameters {
    SSHParameters(
      name: "db1", host: Self.address, port: port, user: user, identityFile: "\(directory.path)/user_ed25519",
      knownHostsFile: "\(directory.path)/known_hosts", useAgent: false, connectTimeout: .seconds(20))
  }

  /// The fingerprint as `ssh-keygen -l` prints it.
  func fingerprint(_ name: String) -> String {
    let output = (try? Program.check(["ssh-keygen", "-lf", "\(directory.path)/\(name).pub"])) ?? ""
    let words = output.split(separator: " ")
    return words.count > 1 ? String(words[1]) : ""
  }
}

func withHost<Result>(
  _ server: SSHServer, user: String = SSHServer.me, _ body: (SSHHost) async throws -> Result
) async throws -> Result {
  let host = try await connectSSH(server.parameters(user: user))
  return try await doing {
    try await body(host)
  } finally: {
    await host.close()
  }
}
