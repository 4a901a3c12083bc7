internal import ReplicationModel

/// How a command is started on a host, the same way by either transport.
///
/// The login shell is given a fixed text only. It becomes a `sh` that
/// 1. makes itself the leader of a session, unless it is one (below `runuser` it isn't), so that everything it will
///    start can be found by the session's id;
/// 2. reads a nonce from standard input, and answers on standard output with the nonce, its process id and its start
///    time. Whatever login scripts wrote before that is dropped; if no answer comes, the launch has failed (a refusing
///    sudo, say) and nothing of the command has run;
/// 3. reads the command's script up to a line with the nonce, and evaluates it. What is left of standard input is the
///    command's. If the input ends early, nothing is run.
///
/// `read` takes one byte at a time from a pipe, so that it never takes what belongs to the command.
enum Launcher {
  /// No apostrophe in it, so that every login shell (fish, too) reads it in single quotes as it stands.
  /// `$1` is this text itself.
  static let text = """
    IFS= read -r _l </proc/$$/stat; set -- "$1" ${_l##*) }; \
    [ "$5" = $$ ] || exec setsid -w sh -c "$1" pgconvoy "$1"; \
    IFS= read -r _n || exit 125; echo "$_n $$ ${21}"; \
    _s=; _e=; while IFS= read -r _l; do if [ "$_l" = "$_n" ]; then _e=1; break; fi; _s="$_s$_l
    "; done; \
    [ -n "$_e" ] || exit 125; set --; eval "$_s"
    """

  /// Ends every process of the session `$1`, whose leader started at `$2` (so that a reused process id is never taken
  /// for it): TERM at once, KILL after `$3` tenths of a second. Exit status 0 when none is left.
  static let endText = """
    LC_ALL=C; export LC_ALL; _i=0; while :; do \
    _f=$(sed "s/.*) //" /proc/$1/stat 2>/dev/null | cut -d" " -f20); \
    [ -z "$_f" ] || [ "$_f" = "$2" ] || exit 0; \
    _p=$(cat /proc/[0-9]*/stat 2>/dev/null | sed -nE "s/^([0-9]+) [(].*[)] [^ZX] [0-9]+ [0-9]+ $1 .*/\\1/p"); \
    [ -n "$_p" ] || exit 0; \
    if [ $_i -ge $3 ]; then kill -KILL $_p; elif [ $_i = 0 ]; then kill -TERM $_p; fi 2>/dev/null; \
    _i=$((_i+1)); [ $_i -le $(($3+50)) ] || exit 1; sleep 0.1; done
    """

  /// What the login shell is asked to run.
  static func command(as user: String?, login: LoginIdentity) -> String {
    let quoted = "'" + text + "'"
    return "exec " + switchUser(user, login) + "sh -c \(quoted) pgconvoy \(quoted)"
  }

  /// What the login shell is asked to run to end a command that ran as `user`. Root needs not become that user.
  static func endCommand(
    _ leader: SessionLeader, as user: String?, login: LoginIdentity, graceInTenths: Int
  ) -> String {
    "exec " + (login.isRoot ? "" : switchUser(user, login))
      + "sh -c '\(endText)' pgconvoy \(leader.processID) \(leader.startTime) \(graceInTenths)"
  }

  private static func switchUser(_ user: String?, _ login: LoginIdentity) -> String {
    guard let user, user != login.user else { return "" }
    return (login.isRoot ? "runuser -u " : "sudo -n -u ") + shellQuoted(user) + " -- "
  }
}

/// The operating-system user that a transport starts its commands as.
struct LoginIdentity: Sendable, Equatable {
  var user: String
  var isRoot: Bool
}

/// The process that the host started for a command; its id is the id of the session with all its children.
struct SessionLeader: Sendable, Equatable {
  var processID: Int32
  /// Clock ticks since the host's boot, field 22 of `/proc/PID/stat`.
  var startTime: UInt64
}

/// A command made ready for a transport: checked, and turned into the launcher's input.
struct PreparedCommand: Sendable {
  let command: RemoteCommand
  let host: String
  let login: LoginIdentity
  let nonce: String
  /// The command's script and the line that ends it.
  let script: [UInt8]

  /// - Throws: `host.invalid-command`.
  init(_ command: RemoteCommand, host: String, login: LoginIdentity) throws {
    self.command = command
    self.host = host
    self.login = login
    nonce = (0..<4).map { _ in hexadecimal(UInt32.random(in: 0...UInt32.max)) }.joined()
    var text = command.withheld.isEmpty ? "" : "unset \(shellQuoted(command.withheld))\n"
    func refuse(_ words: String) -> ConvoyError {
      ConvoyError("host.invalid-command", "\(command.displayName) cannot be run: \(words)", at: .host(host))
    }
    for (name, value) in command.environment.sorted(by: { $0.key < $1.key }) {
      guard isEnvironmentName(name) else { throw refuse("\(name) is not a name for an environment variable") }
      guard !value.utf8.contains(0) else { throw refuse("the value of \(name) contains a zero byte") }
      text += "export \(name)=\(shellQuoted(value))\n"
    }
    if let user = command.user, user.isEmpty || user.utf8.first == UInt8(ascii: "-") || user.utf8.contains(0) {
      throw refuse("\(shellQuoted(user)) is not a user's name")
    }
    if let directory = command.workingDirectory {
      guard !directory.isEmpty, !directory.utf8.contains(0) else { throw refuse("the working directory has no name") }
      text += "cd -- \(shellQuoted(directory)) || exit 1\n"
    } else if let user = command.user, user != login.user {
      // The login directory may be closed to that user.
      text += "cd /\n"
    }
    guard !command.arguments.contains(where: { $0.utf8.contains(0) }) else {
      throw refuse("an argument contains a zero byte")
    }
    let arguments = shellQuoted(command.arguments)
    if let script = command.script {
      guard !script.utf8.contains(0) else { throw refuse("the script contains a zero byte") }
      text += "set -- \(arguments)\n\(script)\n"
    } else {
      guard !command.arguments.isEmpty else { throw refuse("there is no program") }
      text += "exec \(arguments)\n"
    }
    script = Array((text + nonce + "\n").utf8)
  }

  var launchText: String { Launcher.command(as: command.user, login: login) }

  func endText(_ leader: SessionLeader) -> String {
    Launcher.endCommand(leader, as: command.user, login: login, graceInTenths: 30)
  }
}

private func isEnvironmentName(_ name: String) -> Bool {
  guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
  return name.utf8.allSatisfy { byte in
    byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
      || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}

private func hexadecimal(_ value: UInt32) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 8 - digits.count) + digits
}
