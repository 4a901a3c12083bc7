/// What to run on a host, and as whom.
///
/// Of all this only `arguments` of a program show in the host's process list (a program's arguments always do) and the
/// name in `user`. Environment, working directory, scripts, a script's arguments and standard input travel through the
/// launcher's standard input. The values in `environment` are, as any process's, readable for root and for the same
/// user in `/proc/PID/environ`.
public struct RemoteCommand: Sendable {
  /// The program with its arguments; with a `script`, the script's `$1`, `$2`, ….
  public var arguments: [String]
  /// Shell commands for `/bin/sh`, run instead of a program.
  public var script: String?
  /// Added to what the host gives its users.
  public var environment: [String: String]
  /// Variables that it does not get, whatever the host gives its users.
  public var withheld: [String] = []
  /// Nil: the login directory, or `/` where the command runs as another user.
  public var workingDirectory: String?
  /// Run as this operating-system user: as we are when we log in as that user, by `runuser` as root, by `sudo -n`
  /// otherwise. Nil: the login user.
  public var user: String?
  public var standardInput: [UInt8]
  /// How long it may take, from the call on. When it has passed, the command and its children are ended and the call
  /// throws `host.deadline`.
  public var deadline: Duration?
  /// Told every piece of output as it arrives, in order within a stream. Called on the transport's own thread: must
  /// not block.
  public var onOutput: (@Sendable (OutputStream, [UInt8]) -> Void)?
  /// What to call it in errors, where the command line would not help.
  public var label: String?
  /// It only asks: nothing on the host is different afterwards.
  public var isQuestion = false

  public init(
    _ arguments: [String], environment: [String: String] = [:], workingDirectory: String? = nil, user: String? = nil,
    standardInput: [UInt8] = [], deadline: Duration? = nil,
    onOutput: (@Sendable (OutputStream, [UInt8]) -> Void)? = nil, label: String? = nil
  ) {
    self.arguments = arguments
    self.script = nil
    self.environment = environment
    self.workingDirectory = workingDirectory
    self.user = user
    self.standardInput = standardInput
    self.deadline = deadline
    self.onOutput = onOutput
    self.label = label
  }

  /// A script for `/bin/sh`; it never shows in the process list, the programs that it starts do.
  public static func shell(
    _ script: String, arguments: [String] = [], environment: [String: String] = [:], workingDirectory: String? = nil,
    user: String? = nil, standardInput: [UInt8] = [], deadline: Duration? = nil,
    onOutput: (@Sendable (OutputStream, [UInt8]) -> Void)? = nil, label: String? = nil
  ) -> RemoteCommand {
    var command = RemoteCommand(
      arguments, environment: environment, workingDirectory: workingDirectory, user: user,
      standardInput: standardInput, deadline: deadline, onOutput: onOutput, label: label)
    command.script = script
    return command
  }

  /// The whole command as a person would type it: a script with its arguments in their places. Environment, which may
  /// hold secrets, and standard input are left out.
  public var text: String {
    guard let script else { return shellQuoted(arguments) }
    var text = script
    for (index, argument) in arguments.enumerated() {
      text = text.replacingAll("\"$\(index + 1)\"", with: shellQuoted(argument))
    }
    return text.replacingAll("\"$@\"", with: shellQuoted(arguments))
  }

  /// The same, marked as one that only asks.
  public var asking: RemoteCommand {
    var command = self
    command.isQuestion = true
    return command
  }

  /// For errors and diffs: the label, the command line in quotes (200 characters at most), or `shell script`.
  public var displayName: String {
    if let label { return label }
    if script != nil { return "shell script" }
    let line = shellQuoted(arguments).map { $0.isNewline ? " " : $0 }
    return "`" + (line.count > 200 ? String(line.prefix(199)) + "…" : String(line)) + "`"
  }
}

extension String {
  fileprivate func replacingAll(_ part: String, with replacement: String) -> String {
    var result = ""
    var rest = self[...]
    while let range = rest.firstRange(of: part) {
      result += rest[..<range.lowerBound] + replacement
      rest = rest[range.upperBound...]
    }
    return result + rest
  }
}
