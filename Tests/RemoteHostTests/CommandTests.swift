import Glibc
import Lab
import RemoteHost
import ReplicationModel
import Synchronization
import TestSupport
import Testing

/// Both transports promise the same: every test here runs on both.
@Suite(.serialized)
struct CommandTests {
  enum Transport: String, CaseIterable {
    case ssh
    case local
  }

  private static func on<Result>(
    _ transport: Transport, configuration: String = "", _ body: (any RemoteHost) async throws -> Result
  ) async throws -> Result {
    switch transport {
    case .local: return try await body(LocalHost(name: "db1"))
    case .ssh:
      let server = try SSHServer(configuration: configuration)
      return try await withHost(server) { try await body($0) }
    }
  }

  @Test(arguments: Transport.allCases)
  func bothOutputsAndTheExitStatusArriveApart(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let result = try await host.run(.shell("printf out; printf err >&2; exit 3"))
      #expect(result.text == "out")
      #expect(result.errorText == "err")
      #expect(result.exitStatus == 3)
      #expect(result.exitSignal == nil)
      #expect(!result.succeeded)
      #expect(try await host.run(RemoteCommand(["true"])).succeeded)
    }
  }

  @Test(arguments: Transport.allCases)
  func aSignalIsReportedAsOne(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let result = try await host.run(.shell("kill -KILL $$"))
      #expect(result.exitStatus == nil)
      #expect(result.exitSignal == "KILL")
    }
  }

  @Test(arguments: Transport.allCases)
  func aFailureSaysHowAndWhy(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let error = await #expect(throws: ConvoyError.self) {
        try await host.runChecked(RemoteCommand(["cat", "/no such file"], environment: ["LC_ALL": "C"]))
      }
      #expect(
        error?.description == """
          error: host db1: `cat '/no such file'` failed with exit status 1: cat: '/no such file': No such file or \
          directory [host.command-failed]
          """)
      let missing = try await host.run(RemoteCommand(["no-such-program"]))
      // 126 where a directory in PATH is closed to us.
      #expect([126, 127].contains(missing.exitStatus))
    }
  }

  static let hostileArguments = [
    "", " ", "-n", "--", "a b", "it's", "\"", "\\", "\\n", "$HOME", "`id`", "$(id)", "*", "~", "!!", "a\nb\n", "\n",
    "\t", "'''", "if", "A=b", "é日本", ";", "#", "&&", "\u{1}\u{7F}",
    String(String.UnicodeScalarView((1...255).compactMap { Unicode.Scalar($0) })),
  ]

  @Test(arguments: Transport.allCases)
  func hostileArgumentsArriveAsTheyAre(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let arguments = Self.hostileArguments
      let expected: [UInt8] = arguments.flatMap { (argument: String) -> [UInt8] in Array(argument.utf8) + [0] }
      let program = try await host.run(RemoteCommand(["printf", "%s\\0"] + arguments))
      #expect(program.standardOutput == expected)
      let script = try await host.run(.shell("printf '%s\\0' \"$@\"", arguments: arguments))
      #expect(script.standardOutput == expected)
      for argument in arguments {
        let result = try await host.run(.shell("printf %s \"$VALUE\"", environment: ["VALUE": argument]))
        #expect(result.standardOutput == Array(argument.utf8))
      }
    }
  }

  @Test(arguments: Transport.allCases, ["sh", "bash"])
  func everyByteSurvivesTheQuotes(_ transport: Transport, _ shell: String) async throws {
    try await Self.on(transport) { host in
      let bytes = (UInt8(1)...255).map { $0 }
      let script = Array("printf %s ".utf8) + shellQuoted(bytes) + Array("\n".utf8)
      let result = try await host.run(RemoteCommand([shell], environment: ["LC_ALL": "C"], standardInput: script))
      #expect(result.standardOutput == bytes)
    }
  }

  @Test(arguments: Transport.allCases)
  func standardInputIsTheCommandsAlone(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let input = Array("first\nsecond\n".utf8)
      #expect(try await host.run(RemoteCommand(["cat"], standardInput: input)).standardOutput == input)
      let result = try await host.run(.shell("read line; echo \"$line\"; cat", standardInput: input))
      #expect(result.standardOutput == input)
      // Nobody reads: no harm.
      let ignored = try await host.run(RemoteCommand(["true"], standardInput: [UInt8](repeating: 7, count: 3 << 20)))
      #expect(ignored.succeeded)
    }
  }

  @Test(arguments: Transport.allCases)
  func muchInputAndMuchOutputAtOnceDoNotBlockEachOther(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let input = (0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
      let result = try await host.run(
        .shell("head -c 3000000 /dev/zero >&2; cat; head -c 3000000 /dev/zero >&2", standardInput: input))
      #expect(result.standardOutput == input)
      #expect(result.standardError.count == 6_000_000)
    }
  }

  @Test(arguments: Transport.allCases)
  func environmentAndScriptsDoNotShowInTheProcessList(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let result = try await host.run(
        .shell(
          "cat /proc/*/cmdline | tr '\\0' ' ' | grep -c 'SECRE[T]-IN'; : SECRET-IN-SCRIPT",
          arguments: ["SECRET-IN-ARG"],
          environment: ["PASSWORD": "SECRET-IN-ENVIRONMENT"], standardInput: Array("SECRET-IN-INPUT".utf8)))
      #expect(result.text == "0")
    }
  }

  @Test(arguments: Transport.allCases)
  func workingDirectory(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      #expect(try await host.run(RemoteCommand(["pwd"], workingDirectory: "/usr/bin")).text == "/usr/bin")
      let missing = try await host.run(RemoteCommand(["pwd"], workingDirectory: "/nowhere"))
      #expect(missing.exitStatus == 1)
    }
  }

  @Test(arguments: Transport.allCases)
  func outputIsToldAsItArrives(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let heard = Mutex<[UInt8]>([])
      let (lines, teller) = AsyncStream.makeStream(of: String.self)
      let directory = try TemporaryDirectory()
      let path = "\(directory.path)/go"
      async let result = host.run(
        .shell(
          "echo ready; while [ ! -e \"$1\" ]; do sleep 0.02; done; echo done", arguments: [path],
          deadline: .seconds(30),
          onOutput: { _, bytes in
            heard.withLock { $0 += bytes }
            teller.yield(String(decoding: bytes, as: UTF8.self))
          }))
      // The command goes on only after we have heard of its first line.
      for await line in lines where line.contains("ready") { break }
      try directory.write("", to: "go")
      let text = try await result.text
      #expect(text == "ready\ndone")
      #expect(heard.withLock { $0 } == Array("ready\ndone\n".utf8))
    }
  }

  @Test(arguments: Transport.allCases)
  func whatCannotBeRunIsRefused(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      for (command, words) in [
        (RemoteCommand([]), "`` cannot be run: there is no program"),
        (RemoteCommand(["a\0b"]), "`'a\0b'` cannot be run: an argument contains a zero byte"),
        (
          RemoteCommand(["id"], environment: ["A-B": ""]),
          "`id` cannot be run: A-B is not a name for an environment variable"
        ),
        (RemoteCommand(["id"], user: "-x"), "`id` cannot be run: -x is not a user's name"),
      ] {
        let error = await #expect(throws: ConvoyError.self) { try await host.run(command) }
        #expect(error?.message == words)
        #expect(error?.code == "host.invalid-command")
      }
    }
  }

  // MARK: ending

  /// A tree of processes that ignores TERM, in part in process groups of its own; it says when it is ready.
  private static func stubbornTree(_ marker: String) -> RemoteCommand {
    .shell(
      """
      trap '' TERM
      sleep 600.\(marker) & timeout 600 sleep 600.\(marker) & sh -c 'sleep 600.\(marker); :' &
      echo ready
      wait; wait; sleep 600.\(marker)
      """)
  }

  private static func processes(_ marker: String) -> Int {
    ProcessTable.snapshot().entries.reduce(0) { $0 + $1.arguments.count { $0 == "600.\(marker)" } }
  }

  @Test(arguments: Transport.allCases, [nil, "postgres"])
  func cancellingEndsTheCommandWithItsChildren(_ transport: Transport, _ user: String?) async throws {
    try await Self.on(transport) { host in
      let marker = String(Int.random(in: 100_000_000...999_999_999))
      let (ready, teller) = AsyncStream.makeStream(of: Void.self)
      var command = Self.stubbornTree(marker)
      command.user = user
      command.onOutput = { _, _ in teller.yield() }
      let task = Task { [command] in try await host.run(command) }
      for await _ in ready { break }
      try await eventually("the tree", within: .seconds(5)) { Self.processes(marker) >= 3 }
      #expect(Self.processes(marker) >= 3)
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(Self.processes(marker) == 0)
      let after = try await host.run(RemoteCommand(["echo", "alive"]))
      #expect(after.text == "alive")
    }
  }

  @Test(arguments: Transport.allCases)
  func aDeadlineEndsTheCommandWithItsChildren(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let marker = String(Int.random(in: 100_000_000...999_999_999))
      var command = Self.stubbornTree(marker)
      command.deadline = .seconds(1)
      command.label = "the tree"
      let error = await #expect(throws: ConvoyError.self) { try await host.run(command) }
      #expect(
        error?.description
          == "error: host db1: the tree did not finish within 1.0 seconds and was ended [host.deadline]")
      #expect(Self.processes(marker) == 0)
    }
  }

  @Test(arguments: Transport.allCases)
  func aTaskThatIsCancelledAlreadyRunsNothing(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let directory = try TemporaryDirectory()
      let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await host.run(RemoteCommand(["touch", "\(directory.path)/ran"]))
      }
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(access("\(directory.path)/ran", F_OK) != 0)
    }
  }

  // MARK: users

  @Test(.enabled(if: geteuid() == 0), arguments: Transport.allCases)
  func asAnotherUserFromRoot(_ transport: Transport) async throws {
    try await Self.on(transport) { host in
      let result = try await host.run(
        .shell(
          "id -un; pwd; printf %s \"$SECRET\"; cat", environment: ["SECRET": "s'e"], user: "postgres",
          standardInput: Array("in".utf8)))
      #expect(result.text == "postgres\n/\ns'ein")
      #expect(try await host.run(RemoteCommand(["id", "-un"], user: "root")).text == "root")
      let failing = try await host.run(.shell("exit 7", user: "postgres"))
      #expect(failing.exitStatus == 7)
      let error = await #expect(throws: ConvoyError.self) {
        try await host.run(RemoteCommand(["id"], user: "no-such-user"))
      }
      #expect(
        error?.description == """
          error: host db1: cannot run a command as no-such-user: runuser: user no-such-user does not exist or the user \
          entry does not contain all the required fields [host.user-refused]
          hint: does the user exist on the host? try: runuser -u no-such-user -- id
          """)
    }
  }

  /// Where postgres may use sudo to become nobody without a password: `postgres ALL=(nobody) NOPASSWD: ALL`.
  private static let mayUseSudo =
    geteuid() == 0
    && (try? Program.run(["runuser", "-u", "postgres", "--", "sudo", "-n", "-u", "nobody", "--", "true"]).status) == 0

  @Test(.enabled(if: mayUseSudo))
  func asAnotherUserThroughSudo() async throws {
    let server = try SSHServer()
    try await withHost(server, user: "postgres") { host in
      let result = try await host.run(
        .shell(
          "id -un; pwd; printf %s \"$SECRET\"; cat; exit 4", environment: ["SECRET": "s'e"], user: "nobody",
          standardInput: Array("in".utf8)))
      #expect(result.text == "nobody\n/\ns'ein")
      #expect(result.exitStatus == 4)
      let marker = String(Int.random(in: 100_000_000...999_999_999))
      var command = Self.stubbornTree(marker)
      command.user = "nobody"
      command.deadline = .seconds(1)
      do {
        let result = try await host.run(command)
        Issue.record("not ended: \(result)")
      } catch let error as ConvoyError {
        #expect(error.code == "host.deadline")
      }
      #expect(Self.processes(marker) == 0)
      try await host.runChecked(RemoteCommand(["true"]))
    }
  }
}
