import Glibc
import RemoteHost
import ReplicationModel
import TestSupport
import Testing

/// What a person reads when a connection cannot be made, to the letter.
@Suite(.serialized)
struct ConnectTests {
  private func connectionError(_ parameters: SSHParameters) async -> ConvoyError? {
    do {
      let host = try await connectSSH(parameters)
      await host.close()
      Issue.record("connected")
    } catch let error as ConvoyError {
      return error
    } catch {
      Issue.record(error)
    }
    return nil
  }

  private func expectError(_ parameters: SSHParameters, _ text: String) async {
    do {
      let host = try await connectSSH(parameters)
      await host.close()
      Issue.record("connected; expected \(text)")
    } catch {
      #expect("\(error)" == text)
    }
  }

  // MARK: host keys

  @Test func anUnknownHost() async throws {
    let server = try SSHServer()
    var parameters = server.parameters()
    parameters.knownHostsFile = "\(server.directory.path)/none"
    await expectError(
      parameters,
      """
      error: host db1: 127.0.0.31 port \(server.port) is not in \(server.directory.path)/none; it presented the ED25519 \
      key \(server.fingerprint("host_ed25519")) [ssh.host-key-unknown]
      hint: compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, then add the \
      key: ssh-keyscan -p \(server.port) -t ed25519,ecdsa 127.0.0.31 >> \(server.directory.path)/none
      """)
    let line = try server.directory.read("known_hosts").split(separator: "\n")[0]
    try server.directory.write("@cert-authority \(line)\n", to: "only")
    parameters.knownHostsFile = "\(server.directory.path)/only"
    let error = await connectionError(parameters)
    #expect(
      error?.message == """
        127.0.0.31 port \(server.port) is not in \(server.directory.path)/only; it presented the ED25519 key \
        \(server.fingerprint("host_ed25519")); \(server.directory.path)/only line 1 trusts a certificate authority for \
        it, which is not supported
        """)
  }

  @Test func aChangedKey() async throws {
    let server = try SSHServer()
    let path = server.directory.path
    try SSHServer.makeKey("\(path)/other", "ed25519")
    let key = try server.directory.read("other.pub").split(separator: " ")
    try server.directory.write("# ours\n[127.0.0.31]:\(server.port) \(key[0]) \(key[1])\n", to: "changed")
    var parameters = server.parameters()
    parameters.knownHostsFile = "\(path)/changed"
    await expectError(
      parameters,
      """
      error: host db1: 127.0.0.31 port \(server.port) presented the ED25519 key \(server.fingerprint("host_ed25519")), \
      but \(path)/changed has ED25519 \(server.fingerprint("other")) in line 2 [ssh.host-key-changed]
      hint: someone may be in between; if the host really has a new key, forget the old one: ssh-keygen -R \
      '[127.0.0.31]:\(server.port)' -f \(path)/changed, then: ssh-keyscan -p \(server.port) -t ed25519,ecdsa \
      127.0.0.31 >> \(path)/changed
      """)
  }

  @Test func aKeyOfAnotherTypeIsAChangedKey() async throws {
    let server = try SSHServer(hostKeys: ["ecdsa"])
    try SSHServer.makeKey("\(server.directory.path)/other", "ed25519")
    let key = try server.directory.read("other.pub").split(separator: " ")
    try server.directory.write("[127.0.0.31]:\(server.port) \(key[0]) \(key[1])\n", to: "known_hosts")
    let error = await connectionError(server.parameters())
    #expect(error?.code == "ssh.host-key-changed")
    #expect(
      error?.message == """
        127.0.0.31 port \(server.port) presented the ECDSA key \(server.fingerprint("host_ecdsa")), but \
        \(server.directory.path)/known_hosts has ED25519 \(server.fingerprint("other")) in line 1
        """)
  }

  @Test func aRevokedKey() async throws {
    let server = try SSHServer()
    let line = try server.directory.read("known_hosts").split(separator: "\n")[0]
    try server.directory.write(
      server.directory.read("known_hosts")
        + "@revoked * \(line.split(separator: " ").dropFirst().joined(separator: " "))\n",
      to: "known_hosts")
    await expectError(
      server.parameters(),
      """
      error: host db1: 127.0.0.31 port \(server.port) presented the revoked ED25519 key \
      \(server.fingerprint("host_ed25519")) (\(server.directory.path)/known_hosts line 3) [ssh.host-key-revoked]
      hint: do not connect to this host before its key has been replaced
      """)
  }

  @Test func hashedNamesAndEntriesOfOneTypeOnly() async throws {
    let server = try SSHServer()
    let path = server.directory.path
    let lines = try server.directory.read("known_hosts").split(separator: "\n")
    // The server prefers its Ed25519 key; asked for ECDSA, it must present that.
    try server.directory.write("\(lines[1])\n", to: "known_hosts")
    try await withHost(server) { _ = try await $0.run(RemoteCommand(["true"])) }
    try server.directory.write(lines.joined(separator: "\n") + "\n", to: "known_hosts")
    try Program.check(["ssh-keygen", "-H", "-f", "\(path)/known_hosts"])
    #expect(try server.directory.read("known_hosts").hasPrefix("|1|"))
    try await withHost(server) { _ = try await $0.run(RemoteCommand(["true"])) }
  }

  @Test func rsaOnly() async throws {
    let server = try SSHServer(hostKeys: ["rsa"])
    let path = server.directory.path
    let why = "and libssh2 1.10 verifies RSA signatures with SHA-1 only, which must not be trusted [ssh.rsa-only]"
    await expectError(
      server.parameters(),
      """
      error: host db1: \(path)/known_hosts has only an RSA key for 127.0.0.31 port \(server.port), \(why)
      hint: add another key of the host: ssh-keyscan -p \(server.port) -t ed25519,ecdsa 127.0.0.31 >> \
      \(path)/known_hosts
      """)
    try server.directory.write("", to: "known_hosts")
    await expectError(
      server.parameters(),
      """
      error: host db1: 127.0.0.31 port \(server.port) offers only an RSA host key, \(why)
      hint: make the others on the host with ssh-keygen -A, and restart its sshd
      """)
  }

  // MARK: reaching

  @Test func unreachable() async throws {
    let port = UInt16(try freePort(on: SSHServer.address))
    var parameters = SSHParameters(name: "db1", host: SSHServer.address, port: port, user: "root", useAgent: false)
    await expectError(
      parameters,
      """
      error: host db1: 127.0.0.31 port \(port) refused the connection [ssh.unreachable]
      hint: is sshd running there, and is this its port?
      """)
    parameters.host = "no-such-host.invalid"
    let error = await connectionError(parameters)
    #expect(error?.code == "ssh.unreachable")
    #expect(error?.message.hasPrefix("the name no-such-host.invalid cannot be resolved: ") == true)
    #expect(error?.hint == "correct the host's address in the inventory, or the name service")
  }

  /// A listener that never says a word: the kernel accepts for it.
  @Test func aSilentServerTimesOut() async throws {
    let silent = try SilentListener(on: SSHServer.address)
    var parameters = SSHParameters(
      name: "db1", host: SSHServer.address, port: UInt16(silent.port), user: "root", useAgent: false)
    parameters.connectTimeout = .milliseconds(300)
    await expectError(
      parameters,
      """
      error: host db1: 127.0.0.31 port \(silent.port) did not finish the key exchange in time [ssh.timeout]
      hint: is that port sshd's, and is the host overloaded?
      """)
    parameters.connectTimeout = .seconds(60)
    let task = Task { [parameters] in try await connectSSH(parameters) }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  // MARK: authentication

  @Test func aKeyThatTheServerDoesNotKnow() async throws {
    let server = try SSHServer()
    let path = server.directory.path
    try SSHServer.makeKey("\(path)/stranger", "ecdsa")
    var parameters = server.parameters(user: "root")
    parameters.identityFile = "\(path)/stranger"
    await expectError(
      parameters,
      """
      error: host db1: root@127.0.0.31 port \(server.port) refused to log us in (tried \(path)/stranger (ECDSA \
      \(server.fingerprint("stranger"))); the server accepts publickey) [ssh.auth-failed]
      hint: the public key must be in authorized_keys of root on the host
      """)
    parameters.identityFile = nil
    parameters.useAgent = true
    parameters.agentSocket = "\(path)/no-agent"
    let error = await connectionError(parameters)
    #expect(
      error?.message == """
        root@127.0.0.31 port \(server.port) refused to log us in (tried agent: none is running; the server accepts \
        publickey)
        """)
  }

  @Test(arguments: ["ed25519", "ecdsa"])
  func encryptedKeysAndKeysWithoutAPublicFile(_ type: String) async throws {
    let server = try SSHServer()
    let path = server.directory.path
    try SSHServer.makeKey("\(path)/locked", type, passphrase: "open sesame")
    let fingerprint = server.fingerprint("locked")
    try server.directory.write(server.directory.read("locked.pub"), to: "authorized_keys")
    unlink("\(path)/locked.pub")
    var parameters = server.parameters()
    parameters.identityFile = "\(path)/locked"
    await expectError(
      parameters,
      """
      error: host db1: the private key \(path)/locked (\(type.uppercased()) \(fingerprint)) is encrypted, and there is \
      no passphrase [ssh.key-encrypted]
      hint: set ssh.passphrase_command, run on a terminal, or add the key to the agent: ssh-add \(path)/locked
      """)
    parameters.passphrase = { Array("open barley".utf8) }
    await expectError(
      parameters,
      """
      error: host db1: the passphrase does not open the private key \(path)/locked (\(type.uppercased()) \
      \(fingerprint)) [ssh.passphrase-wrong]
      hint: try it with: ssh-keygen -y -f \(path)/locked
      """)
    parameters.passphrase = { Array("open sesame".utf8) }
    let host = try await connectSSH(parameters)
    #expect(host.loginUser == SSHServer.me)
    await host.close()
    parameters.identityFile = "\(path)/none"
    await expectError(
      parameters,
      """
      error: host db1: cannot read the private key \(path)/none: no such file or directory [ssh.key-unreadable]
      hint: identity_file must name the private key, readable for the user who runs this
      """)
    parameters.identityFile = "\(path)/user_ed25519.pub"
    let error = await connectionError(parameters)
    #expect(error?.message == "cannot read the private key \(path)/user_ed25519.pub: this is a public key")
  }

  @Test func theAgent() async throws {
    let server = try SSHServer()
    let path = server.directory.path
    let agent = try Program(["/usr/bin/ssh-agent", "-D", "-a", "\(path)/agent"])
    defer { agent.end() }
    try await eventually("the agent's socket", every: .milliseconds(10)) { server.directory.exists("agent") }
    var parameters = server.parameters()
    parameters.identityFile = nil
    parameters.useAgent = true
    parameters.agentSocket = "\(path)/agent"
    let error = await connectionError(parameters)
    #expect(error?.message.contains("(tried agent: it has no keys; the server accepts publickey)") == true)
    try Program.check(["ssh-add", "-q", "\(path)/user_ed25519"], environment: ["SSH_AUTH_SOCK": "\(path)/agent"])
    let host = try await connectSSH(parameters)
    #expect(try await host.run(RemoteCommand(["echo", "by agent"])).text == "by agent")
    await host.close()
  }

  /// sshd hangs up after two keys: the named one comes first, wherever it is in the agent, as with ssh(1).
  @Test(arguments: ["ed25519", "rsa -m PEM"]) func anAgentWithManyKeys(type: String) async throws {
    let server = try SSHServer(configuration: "MaxAuthTries 2\nPubkeyAcceptedAlgorithms +ssh-rsa")
    let path = server.directory.path
    let agent = try Program(["/usr/bin/ssh-agent", "-D", "-a", "\(path)/agent"])
    defer { agent.end() }
    try await eventually("the agent's socket", every: .milliseconds(10)) { server.directory.exists("agent") }
    func add(_ name: String) throws {
      try Program.check(["ssh-add", "-q", "\(path)/\(name)"], environment: ["SSH_AUTH_SOCK": "\(path)/agent"])
    }
    for number in 1...3 {
      try SSHServer.makeKey("\(path)/other\(number)", "ed25519")
      try add("other\(number)")
    }
    let words = type.split(separator: " ").map(String.init)
    try Program.check(["ssh-keygen", "-q", "-N", "", "-f", "\(path)/own", "-t"] + words)
    try server.directory.write(server.directory.read("own.pub"), to: "authorized_keys")
    try add("own")
    try Program.check(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", "\(path)/own"] + words.dropFirst())
    var parameters = server.parameters()
    parameters.identityFile = "\(path)/own"
    parameters.useAgent = true
    parameters.agentSocket = "\(path)/agent"
    try await connectSSH(parameters).close()
    // As ssh_config names it.
    parameters.identityFile = nil
    parameters.moreIdentityFiles = ["\(path)/other9", "\(path)/own"]
    try await connectSSH(parameters).close()

    parameters.moreIdentityFiles = []
    let lost = await connectionError(parameters)
    #expect(lost?.message.contains("ended the connection during authentication, after 2 keys") == true)
    #expect(lost?.hint?.contains("ssh.identity_file") == true)
    parameters.identitiesOnly = true
    let none = await connectionError(parameters)
    #expect(none?.code == "ssh.auth-failed", "\(none?.message ?? "")")
  }

  @Test(.enabled(if: geteuid() == 0))
  func sudoThatIsRefused() async throws {
    let server = try SSHServer()
    try await withHost(server, user: "postgres") { host in
      let own = try await host.run(RemoteCommand(["id", "-un"], user: "postgres"))
      #expect(own.text == "postgres")
      let error = await #expect(throws: ConvoyError.self) {
        try await host.run(RemoteCommand(["id", "-un"], user: "root"))
      }
      #expect(error?.code == "host.sudo-refused")
      // What sudo itself says depends on whether and how it is installed.
      #expect(error?.message.hasPrefix("postgres cannot run a command as root: ") == true)
      #expect(error?.message.contains("sudo") == true)
      #expect(
        error?.hint == """
          log in as root, or allow it without a password in sudoers: postgres ALL=(root) NOPASSWD: ALL
          """)
    }
  }

  @Test(.enabled(if: geteuid() == 0))
  func anAccountWithoutAShell() async throws {
    let server = try SSHServer()
    let error = await connectionError(server.parameters(user: "nobody"))
    #expect(
      error?.description == """
        error: host db1: the login shell of nobody did not start a command: This account is currently not available. \
        [host.launch-failed]
        hint: the account needs a POSIX shell, and its start-up files must not end a shell that is not interactive
        """)
  }
}
