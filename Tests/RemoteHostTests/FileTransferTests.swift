import Glibc
import Lab
import RemoteHost
import ReplicationModel
import TestSupport
import Testing

@Suite(.serialized)
struct FileTransferTests {
  private static let fiveMegabytes: [UInt8] = {
    (0..<(5 << 17)).flatMap { _ in
      withUnsafeBytes(of: UInt64.random(in: 0...UInt64.max)) { Array($0) }
    }
  }()

  private static func onBoth(_ body: (any RemoteHost, String) async throws -> Void) async throws {
    let server = try SSHServer()
    let directory = try TemporaryDirectory()
    try await withHost(server) { try await body($0, directory.path) }
    let other = try TemporaryDirectory()
    try await body(LocalHost(name: "db1"), other.path)
  }

  @Test func fiveMegabytesThereAndBack() async throws {
    try await Self.onBoth { host, directory in
      let path = "\(directory)/it's a file\n"
      try await host.upload(Self.fiveMegabytes, to: path, mode: 0o640)
      let file = try await host.download(path)
      #expect(file.content == Self.fiveMegabytes)
      #expect(file.mode == 0o640)
      #expect(file.owner == SSHServer.me)
      try await host.upload([], to: path, mode: 0o600)
      #expect(try await host.download(path).content == [])
      let left = try await host.run(RemoteCommand(["ls", "-A", directory]))
      #expect(left.text.split(separator: "\n").count == 1)
    }
  }

  @Test(.enabled(if: geteuid() == 0))
  func aFileOfAnotherUser() async throws {
    try await Self.onBoth { host, directory in
      let path = "\(directory)/postgresql.conf"
      try await host.upload(Array("a".utf8), to: path, mode: 0o4750, owner: "postgres:adm")
      #expect(
        try await host.download(path)
          == RemoteFile(content: Array("a".utf8), mode: 0o4750, owner: "postgres", group: "adm"))
      try await host.replace(path, with: Array("b".utf8))
      #expect(
        try await host.download(path)
          == RemoteFile(content: Array("b".utf8), mode: 0o4750, owner: "postgres", group: "adm"))
      try await host.runChecked(RemoteCommand(["chown", "postgres", directory]))
      try await host.upload(Array("c".utf8), to: "\(directory)/own", mode: 0o600, owner: nil, as: "postgres")
      #expect(
        try await host.download("\(directory)/own", as: "postgres")
          == RemoteFile(content: Array("c".utf8), mode: 0o600, owner: "postgres", group: "postgres"))
    }
  }

  @Test func aLinkIsReplacedAndNotFollowed() async throws {
    try await Self.onBoth { host, directory in
      try await host.upload(Array("target".utf8), to: "\(directory)/target", mode: 0o600)
      try await host.runChecked(RemoteCommand(["ln", "-s", "target", "\(directory)/link"]))
      #expect(try await host.download("\(directory)/link").content == Array("target".utf8))
      try await host.upload(Array("new".utf8), to: "\(directory)/link", mode: 0o600)
      #expect(try await host.download("\(directory)/target").content == Array("target".utf8))
      #expect(try await host.download("\(directory)/link").content == Array("new".utf8))
    }
  }

  /// What stands in a file's place is kept with its content only changed: a link leads where it led.
  @Test func aLinkIsFollowedWhereItsFileIsReplaced() async throws {
    try await Self.onBoth { host, directory in
      try await host.upload(Array("old".utf8), to: "\(directory)/file", mode: 0o640)
      try await host.runChecked(RemoteCommand(["ln", "-s", "file", "\(directory)/one"]))
      try await host.runChecked(RemoteCommand(["ln", "-s", "\(directory)/one", "\(directory)/two"]))
      try await host.replace("\(directory)/two", with: [0xE9, 0x0D, 0x0A, 0xFF])
      let file = try await host.download("\(directory)/file")
      #expect(file.content == [0xE9, 0x0D, 0x0A, 0xFF] && file.mode == 0o640)
      let links = try await host.runChecked(RemoteCommand(["readlink", "\(directory)/one", "\(directory)/two"]))
      #expect(links.text == "file\n\(directory)/one")
      try await host.runChecked(RemoteCommand(["rm", "\(directory)/file"]))
      await #expect(throws: ConvoyError.self) { try await host.replace("\(directory)/two", with: []) }
      #expect(try await host.runChecked(RemoteCommand(["ls", directory])).text == "one\ntwo")
    }
  }

  @Test func whatCannotBeReadOrWritten() async throws {
    try await Self.onBoth { host, directory in
      func expectError(_ text: String, _ work: () async throws -> Void) async {
        do {
          try await work()
          Issue.record("no error; expected \(text)")
        } catch {
          #expect("\(error)" == "error: host db1: \(text)")
        }
      }
      await expectError("cannot read \(directory)/none: no such file [host.file-missing]") {
        _ = try await host.download("\(directory)/none")
      }
      await expectError("cannot read \(directory): not a regular file [host.file-failed]") {
        _ = try await host.download(directory)
      }
      await expectError("cannot write \(directory)/none: no such file [host.file-missing]") {
        try await host.replace("\(directory)/none", with: [])
      }
      await expectError("cannot write \(directory): not a regular file [host.file-failed]") {
        try await host.upload([], to: directory, mode: 0o600)
      }
      await expectError("cannot write x: not the absolute path of a file [host.file-failed]") {
        try await host.upload([], to: "x", mode: 0o600)
      }
      await expectError(
        "cannot write \(directory)/x: chown: invalid user: ‘no-such-user’ [host.file-failed]"
          .replacingQuotes(for: host)
      ) {
        try await host.upload([1], to: "\(directory)/x", mode: 0o600, owner: "no-such-user")
      }
      let left = try await host.run(RemoteCommand(["ls", "-A", directory]))
      #expect(left.text == "")
    }
  }

  @Test func aLostConnectionLeavesTheOldFile() async throws {
    let server = try SSHServer()
    let directory = try TemporaryDirectory()
    let host = try await connectSSH(server.parameters())
    let path = "\(directory.path)/file"
    try await host.upload(Array("old".utf8), to: path, mode: 0o600)
    let content = [UInt8](repeating: 1, count: 200 << 20)
    let task = Task { try await host.upload(content, to: path, mode: 0o600) }
    func files() -> [String] { directoryEntries(directory.path) }
    // No suspension until the server is dead: the upload must not get the time to finish.
    while files().count < 2 { usleep(2000) }
    for process in server.connectionProcesses { kill(process, SIGKILL) }
    let result = await task.result
    #expect(throws: ConvoyError.self) { try result.get() }
    // The shell on the host sees the end of its input, and clears up.
    try await eventually("the old file alone", within: .seconds(10)) { files().count == 1 }
    #expect(files() == ["file"])
    #expect(try await LocalHost().download(path).content == Array("old".utf8))
    await host.close()
  }

  /// The old file stays whole, and nothing is left beside it.
  @Test func aCancelledUploadLeavesTheOldFile() async throws {
    try await Self.onBoth { host, directory in
      let path = "\(directory)/file"
      try await host.upload(Array("old".utf8), to: path, mode: 0o600)
      try await host.runChecked(RemoteCommand(["mkfifo", "\(directory)/fifo"]))
      let task = Task { try await host.upload(Self.fiveMegabytes + Self.fiveMegabytes, to: path, mode: 0o600) }
      task.cancel()
      _ = await task.result
      let content = try await host.download(path).content
      #expect(content == Array("old".utf8) || content.count == 2 * Self.fiveMegabytes.count)
      let left = try await host.run(RemoteCommand(["ls", "-A", directory]))
      #expect(left.text == "fifo\nfile")
    }
  }
}

extension String {
  /// coreutils quotes by the locale, which the test doesn't choose.
  func replacingQuotes(for host: any RemoteHost) -> String {
    var locale = ""
    for name in ["LC_ALL", "LC_CTYPE", "LANG"] where locale.isEmpty {
      if let value = getenv(name) { locale = String(cString: value) }
    }
    let utf8 = locale.lowercased().contains("utf")
    if utf8 && host is LocalHost { return self }
    return String(map { $0 == "‘" || $0 == "’" ? "'" : $0 })
  }
}
