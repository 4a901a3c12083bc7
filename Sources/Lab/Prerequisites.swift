import Glibc
import ReplicationModel

/// The programs that a lab needs, by absolute path. They are looked for once, up front, so that one error names
/// everything that is missing.
package struct Prerequisites: Sendable {
  var sshd: String
  var sshKeygen: String
  var openssl: String
  var runsvdir: String
  var sv: String
  var pgBin: String

  /// - Parameter pgBin: the directory of PostgreSQL's programs.
  static func find(pgBin: String) throws -> Prerequisites {
    var missing: [(program: String, package: String)] = []
    func program(_ name: String, _ package: String) -> String {
      for directory in searchPath() where access("\(directory)/\(name)", X_OK) == 0 { return "\(directory)/\(name)" }
      missing.append((name, package))
      return ""
    }
    let found = Prerequisites(
      sshd: program("sshd", "openssh-server"), sshKeygen: program("ssh-keygen", "openssh-client"),
      openssl: program("openssl", "openssl"), runsvdir: program("runsvdir", "runit"), sv: program("sv", "runit"),
      pgBin: realPath(pgBin) ?? pgBin)
    _ = program("runsv", "runit")
    for name in ["setsid", "runuser", "ipcrm"] { _ = program(name, "util-linux") }
    for name in ["initdb", "pg_ctl", "postgres", "pg_basebackup"] where access("\(pgBin)/\(name)", X_OK) != 0 {
      missing.append(("\(pgBin)/\(name)", "postgresql"))
    }
    guard missing.isEmpty else {
      let names = missing.map { "\($0.program) (\($0.package))" }.joined(separator: ", ")
      var packages: [String] = []
      for entry in missing where !packages.contains(entry.package) { packages.append(entry.package) }
      throw ConvoyError(
        "lab.missing-programs", "missing programs: \(names)",
        hint: "apt-get install \(packages.joined(separator: " "))"
          + (packages.contains("postgresql") ? ", or name PostgreSQL's programs with --pg-bin DIR" : ""))
    }
    return found
  }

  private static func searchPath() -> [String] {
    let own = getenv("PATH").map { String(cString: $0) } ?? ""
    return (own + ":" + ChildProcess.path).split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
  }

  /// The user that PostgreSQL, which refuses to run as root, runs as.
  package static func postgresAccount() throws -> Account {
    guard geteuid() == 0 else { return .current() }
    guard let account = Account.named("postgres") else {
      throw ConvoyError(
        "lab.missing-user", "there is no operating-system user postgres to run PostgreSQL as",
        hint: "apt-get install postgresql, or adduser --system --group --shell /bin/sh postgres")
    }
    return account
  }

  /// The user that logs in by SSH; sshd runs each command with the user's login shell.
  static func loginAccount() throws -> Account {
    let account = Account.current()
    let refusing = ["nologin", "false"]
    if let shell = account.shell.split(separator: "/").last, refusing.contains(String(shell)) {
      throw ConvoyError(
        "lab.no-login-shell", "user \(account.name) has no login shell, only \(account.shell): sshd could run nothing",
        hint: "run the lab as another user, or give this one a shell with chsh")
    }
    return account
  }
}

extension Lab {
  /// The newest PostgreSQL in Debian's place, `/usr/lib/postgresql/15/bin`; else the directory where `PATH` has `pg_ctl`.
  public static func defaultPgBin() -> String {
    let root = "/usr/lib/postgresql"
    let versions = directoryEntries(root).compactMap { Int($0) }.filter {
      access("\(root)/\($0)/bin/initdb", X_OK) == 0
    }
    if let newest = versions.max() { return "\(root)/\(newest)/bin" }
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    for directory in path.split(separator: ":") where access("\(directory)/initdb", X_OK) == 0 {
      return realPath("\(directory)/initdb").map { $0.dropLastComponent() } ?? String(directory)
    }
    return root + "/15/bin"
  }
}

extension String {
  /// The path without its last component.
  func dropLastComponent() -> String {
    guard let slash = lastIndex(of: "/") else { return "." }
    return slash == startIndex ? "/" : String(self[..<slash])
  }
}
