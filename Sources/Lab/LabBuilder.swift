import BlockingIO
import Glibc
import Presentation
import ReplicationModel

/// Makes and starts the two hosts, side by side where nothing stands against it.
struct LabBuilder: Sendable {
  var lab: LabDescription
  var programs: Prerequisites
  var account: Account
  var progress: @Sendable (String) -> Void
  var passwords = LabPasswords.random()

  func build() async throws {
    let programs = self.programs
    try await step("making keys and configuration") { lab in
      try ChildProcess.check(
        programs.sshKeygen, ["-q", "-t", "ed25519", "-N", "", "-C", "pgconvoy lab", "-f", lab.identityFile])
      for host in lab.hosts {
        try makeDirectory(host.directory, mode: 0o711)
        try SSHServer(lab: lab, host: host, programs: programs).install()
        try RunitServices(lab: lab, host: host, programs: programs).install()
        try writeFile(host.versionManifest, "lab-server 1.0.0\n\nThe same on both hosts, as version_check wants it.\n")
      }
      let servers = lab.hosts.map { SSHServer(lab: lab, host: $0, programs: programs) }
      try writeFile(lab.knownHosts, try servers.map { try $0.knownHostsLines() }.joined())
    }
    try LabFiles(lab: lab, passwords: passwords).write()

    progress("starting sshd and postgresql on \(lab.hosts.map(\.address).joined(separator: " and "))")
    let id = lab.id
    try await onDedicatedThread("lab-sshd") { try PrivilegeSeparationDirectory.acquire(labID: id) }
    try await concurrently(lab.hosts) { host in
      try SSHServer(lab: lab, host: host, programs: programs).start()
      let server = postgres(on: host)
      try server.install()
      try server.start()
    }

    guard let source = lab.source else { return }
    progress("filling \(HumanFormat.counted(lab.databases.count, "database"))")
    try await concurrently(lab.databases) { try postgres(on: source).makeDatabase($0) }

    try await step("starting the services") { lab in
      for host in lab.hosts { try RunitServices(lab: lab, host: host, programs: programs).start() }
    }
  }

  private func postgres(on host: LabHost) -> PostgresServer {
    PostgresServer(lab: lab, host: host, programs: programs, account: account, passwords: passwords)
  }

  private func step(_ text: String, _ body: @escaping @Sendable (LabDescription) throws -> Void) async throws {
    try Task.checkCancellation()
    progress(text)
    let lab = self.lab
    try await onDedicatedThread("lab-build") { try body(lab) }
  }

  /// Runs a blocking body for each element, each on a thread of its own, at most four at once. Waits for all of
  /// them, also after a failure: whoever cleans up then must not be overtaken.
  private func concurrently<Element: Sendable>(
    _ elements: [Element], _ body: @escaping @Sendable (Element) throws -> Void
  ) async throws {
    try Task.checkCancellation()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (index, element) in elements.enumerated() {
        if index >= 4 { try await group.next() }
        group.addTask { try await onDedicatedThread("lab-build") { try body(element) } }
      }
      try await group.waitForAll()
    }
  }
}
