import BlockingIO
import Glibc
import ReplicationModel

/// A host's own sshd: own host keys, own address, key login for one user.
struct SSHServer: Sendable {
  var lab: LabDescription
  var host: LabHost
  var programs: Prerequisites

  private var configuration: String { host.sshDirectory + "/sshd_config" }
  private var log: String { host.sshDirectory + "/sshd.log" }
  /// Written by sshd itself once it listens.
  static func pidFile(of host: LabHost) -> String { host.sshDirectory + "/sshd.pid" }

  /// Makes the keys and the configuration.
  func install() throws {
    try makeDirectory(host.sshDirectory, mode: 0o700)
    for type in ["ed25519", "ecdsa"] {
      try ChildProcess.check(
        programs.sshKeygen,
        ["-q", "-t", type, "-N", "", "-C", host.name, "-f", "\(host.sshDirectory)/ssh_host_\(type)_key"],
        at: .host(host.name))
    }
    try writeFile(
      host.sshDirectory + "/authorized_keys", try readText(lab.identityFile + ".pub"), mode: 0o600)
    try writeFile(configuration, configurationText(usePAM: try accountIsLocked()))
  }

  /// The lines of `DIR/known_hosts` for this server: `[127.0.1.1]:10022 ssh-ed25519 AAAA…`.
  func knownHostsLines() throws -> String {
    try ["ed25519", "ecdsa"].map { type in
      let key = try readText("\(host.sshDirectory)/ssh_host_\(type)_key.pub").split(separator: " ").prefix(2)
      return "[\(host.address)]:\(host.sshPort) \(key.joined(separator: " "))\n"
    }.joined()
  }

  /// Starts the server and waits until it listens.
  func start() throws {
    let started = host.sshDirectory + "/started.pid"
    try ChildProcess.startDaemon(
      programs.sshd, ["-D", "-e", "-f", configuration], environment: [ProcessTable.marker: lab.id],
      pidFile: started, log: log)
    guard let pid = pid_t(try readText(started).trimmingLineEnds()) else {
      throw ConvoyError("lab.start-failed", "sshd did not start", at: .host(host.name), cause: tail(log))
    }
    var ended = false
    let listens = waitUntil(.after(.seconds(20))) {
      ended = ProcessEntry(pid: pid)?.isAlive != true
      return ended || fileExists(Self.pidFile(of: host))
    }
    if ended || !listens {
      throw ConvoyError(
        "lab.start-failed", "sshd \(ended ? "ended at once" : "does not listen after 20 s")", at: .host(host.name),
        cause: tail(log))
    }
  }

  /// Without PAM, sshd refuses an account whose password is locked, even to a key. Only root can see that.
  private func accountIsLocked() throws -> Bool {
    guard geteuid() == 0 else { return false }
    let entry = try ChildProcess.run("/usr/bin/getent", ["shadow", lab.sshUser]).output.split(separator: ":")
    return entry.count > 1 && entry[1].hasPrefix("!")
  }

  private func configurationText(usePAM: Bool) -> String {
    """
    # \(host.name), a host of the pgconvoy lab
    ListenAddress \(host.address)
    Port \(host.sshPort)
    HostKey \(host.sshDirectory)/ssh_host_ed25519_key
    HostKey \(host.sshDirectory)/ssh_host_ecdsa_key
    PidFile \(Self.pidFile(of: host))
    AuthorizedKeysFile \(host.sshDirectory)/authorized_keys
    StrictModes no
    AllowUsers \(lab.sshUser)
    PermitRootLogin prohibit-password
    PubkeyAuthentication yes
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    UsePAM \(usePAM ? "yes" : "no")
    UseDNS no
    MaxStartups 100:30:200
    MaxSessions 100
    PrintMotd no
    PrintLastLog no
    Subsystem sftp internal-sftp
    # With a home of its own no shell reads what the account's owner has in theirs, which may take a second each time.
    SetEnv \(ProcessTable.marker)=\(lab.id) PGCONVOY_LAB_HOST=\(host.directory) HOME=\(host.directory)

    """
  }
}

/// `/run/sshd`, without which an sshd that root started refuses to run. Debian's ssh service makes it; where that
/// never ran, the lab has to.
///
/// Each lab leaves a file of its own in a directory that a lab made, and the last one takes the directory away.
/// A directory without such files is somebody else's and stays as it is.
enum PrivilegeSeparationDirectory {
  static let path = "/run/sshd"
  private static let prefix = "pgconvoy-lab-"

  static func acquire(labID: String) throws {
    guard geteuid() == 0 else { return }
    let held = try waitUntil(.after(.seconds(5))) {
      if !isDirectory(path) {
        // Renaming a directory that holds the file already leaves no moment at which ours looks like somebody's.
        let new = path + "." + labID
        if mkdir(new, 0o755) != 0 && errno != EEXIST { throw systemError("make directory", new) }
        try writeFile("\(new)/\(prefix)\(labID)", "")
        if rename(new, path) == 0 { return true }
        try removeTree(new)
        return false
      }
      guard directoryEntries(path).contains(where: { $0.hasPrefix(prefix) }) else { return true }
      return (try? writeFile("\(path)/\(prefix)\(labID)", "")) != nil
    }
    if !held { throw systemError("make directory", path) }
  }

  static func release(labID: String) {
    guard geteuid() == 0 else { return }
    // Left by an `up` that was killed before its rename.
    unlink("\(path).\(labID)/\(prefix)\(labID)")
    rmdir("\(path).\(labID)")
    guard unlink("\(path)/\(prefix)\(labID)") == 0 else { return }
    let others = ProcessTable.snapshot().entries.contains { $0.command.hasPrefix("sshd") && !$0.isZombie }
    if !others { rmdir(path) }
  }
}
