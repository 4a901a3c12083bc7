internal import BlockingIO
internal import CLibSSH2
internal import ReplicationModel

/// Logs a session in: the identity files first, with those that are encrypted by the agent where it has them; then the
/// agent's other keys, then those whose passphrase a person gives.
///
/// A server hangs up after a few keys (sshd's `MaxAuthTries`), so the order matters: what somebody has named comes first.
struct SSHAuthentication {
  /// A key from the identity file, read before the connection was made.
  struct Identity: Sendable {
    var file: PrivateKeyFile
    /// Nil when the key is encrypted and nobody has its passphrase.
    var passphrase: [UInt8]?
  }

  private let session: SSHSession
  private let identities: [Identity]
  private var tried: [String] = []
  private var sawRSA = false
  /// Those that were offered; none is twice.
  private var offeredKeys: [SSHPublicKey] = []

  init(_ session: SSHSession, identities: [Identity]) {
    self.session = session
    self.identities = identities
  }

  private var parameters: SSHParameters { session.parameters }

  /// - Throws: `ssh.auth-failed`, `ssh.key-encrypted`, `ssh.passphrase-wrong`, `ssh.timeout`, `ssh.connection-lost`.
  mutating func logIn() throws {
    let user = parameters.user
    var offered: String?
    var failed: Int32 = 0
    _ = try session.complete("authentication") { handle in
      if let list = libssh2_userauth_list(handle, user, UInt32(user.utf8.count)) {
        offered = String(cString: list)
        return 0
      }
      if libssh2_userauth_authenticated(handle) != 0 { return 0 }
      failed = libssh2_session_last_errno(handle)
      return failed
    }
    if libssh2_userauth_authenticated(session.handle) != 0 { return }
    guard let offered else { throw lost() }
    let closed = identities.filter { $0.file.isEncrypted && $0.passphrase == nil }
    let agent = parameters.useAgent ? openAgent() : nil
    for identity in identities {
      if !identity.file.isEncrypted || identity.passphrase != nil {
        if try accepts(identity) { return }
      } else if let key = agent?.keys.first(where: { $0.publicKey == identity.file.publicKey }) {
        if try accepts(key, of: agent) { return }
      } else {
        tried.append("\(identity.file.displayName): encrypted, no passphrase")
      }
    }
    if !parameters.identitiesOnly {
      for key in agent?.keys ?? [] where !offeredKeys.contains(key.publicKey) {
        if try accepts(key, of: agent) { return }
      }
    }
    for var identity in closed {
      guard let passphrase = parameters.prompt?(identity.file.path) else { continue }
      session.beginAnew()
      identity.passphrase = passphrase
      if try accepts(identity) { return }
    }
    // Keys that nobody named in the inventory are not worth an error of their own.
    if let identity = closed.first, identity.file.path == parameters.identityFile.map(expandedPath) {
      throw session.failure(
        "ssh.key-encrypted", "the private key \(identity.file.displayName) is encrypted, and there is no passphrase",
        hint: "set ssh.passphrase_command, run on a terminal, or add the key to the agent: "
          + "ssh-add \(shellQuoted(identity.file.path))")
    }
    throw refused(offered)
  }

  private mutating func accepts(_ identity: Identity) throws -> Bool {
    noteType(identity.file.publicKey)
    let user = parameters.user
    let passphrase = (identity.passphrase ?? []) + [0]
    let status = try identity.file.content.withUnsafeBytes { content in
      try passphrase.withUnsafeBytes { phrase in
        try session.complete("authentication") { handle in
          libssh2_userauth_publickey_frommemory(
            handle, user, user.utf8.count, nil, 0, content.baseAddress?.assumingMemoryBound(to: CChar.self),
            content.count - 1, phrase.baseAddress?.assumingMemoryBound(to: CChar.self))
        }
      }
    }
    if status == 0 { return true }
    if hasHungUp { throw lost() }
    switch status {
    case LIBSSH2_ERROR_AUTHENTICATION_FAILED, LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
      tried.append(identity.file.displayName)
      return false
    default:
      let words = session.lastErrorWords
      if identity.file.isEncrypted {
        throw session.failure(
          "ssh.passphrase-wrong", "the passphrase does not open the private key \(identity.file.displayName)",
          hint: "try it with: ssh-keygen -y -f \(shellQuoted(identity.file.path))", cause: words)
      }
      throw session.failure(
        "ssh.key-unreadable", "cannot use the private key \(identity.file.displayName): \(words)",
        hint: "supported are Ed25519 and ECDSA keys; make one with: ssh-keygen -t ed25519")
    }
  }

  // MARK: the agent

  /// An agent that answers, and its keys, which it keeps until it is gone itself.
  private final class Agent {
    struct Key {
      let publicKey: SSHPublicKey
      let handle: UnsafeMutablePointer<libssh2_agent_publickey>
    }

    let handle: OpaquePointer
    var keys: [Key] = []

    init?(_ session: SSHSession) {
      guard let handle = libssh2_agent_init(session.handle) else { return nil }
      self.handle = handle
    }

    deinit {
      libssh2_agent_disconnect(handle)
      libssh2_agent_free(handle)
    }
  }

  private mutating func openAgent() -> Agent? {
    guard let agent = Agent(session) else { return nil }
    if let path = parameters.agentSocket { libssh2_agent_set_identity_path(agent.handle, expandedPath(path)) }
    guard libssh2_agent_connect(agent.handle) == 0 else {
      tried.append("agent: none is running")
      return nil
    }
    guard libssh2_agent_list_identities(agent.handle) == 0 else {
      tried.append("agent: it does not answer")
      return nil
    }
    var previous: UnsafeMutablePointer<libssh2_agent_publickey>?
    while true {
      var next: UnsafeMutablePointer<libssh2_agent_publickey>?
      guard libssh2_agent_get_identity(agent.handle, &next, previous) == 0, let key = next else { break }
      previous = key
      let bytes = UnsafeRawBufferPointer(start: key.pointee.blob, count: key.pointee.blob_len)
      agent.keys.append(Agent.Key(publicKey: SSHPublicKey(blob: bytes.map { $0 }), handle: key))
    }
    if agent.keys.isEmpty { tried.append("agent: it has no keys") }
    return agent
  }

  private mutating func accepts(_ key: Agent.Key, of agent: Agent?) throws -> Bool {
    guard let agent else { return false }
    noteType(key.publicKey)
    let user = parameters.user
    let status = try session.complete("authentication") { _ in libssh2_agent_userauth(agent.handle, user, key.handle) }
    if status == 0 { return true }
    if hasHungUp { throw lost() }
    tried.append("agent key \(key.publicKey.family) \(key.publicKey.fingerprint)")
    return false
  }

  private mutating func noteType(_ key: SSHPublicKey?) {
    guard let key else { return }
    if key.family == "RSA" { sawRSA = true }
    offeredKeys.append(key)
  }

  private func refused(_ offered: String) -> ConvoyError {
    let attempts = tried.isEmpty ? "no key and no agent to try" : "tried " + tried.joined(separator: ", ")
    let rsa =
      sawRSA
      ? "libssh2 1.10 signs with RSA keys as SHA-1 only, which today's servers refuse: use an Ed25519 or ECDSA key; "
      : ""
    return session.failure(
      "ssh.auth-failed",
      "\(parameters.destination) refused to log us in (\(attempts); the server accepts \(offered))",
      hint: rsa + "the public key must be in authorized_keys of \(parameters.user) on the host")
  }

  /// libssh2 has one code for a key that is refused and for a server that says nothing more; its words differ.
  private var hasHungUp: Bool {
    session.socket.failure != nil || session.lastErrorWords.hasPrefix("Waiting for USERAUTH response")
  }

  private func lost() -> ConvoyError {
    let count = offeredKeys.count
    return session.failure(
      "ssh.connection-lost",
      "\(parameters.host) port \(parameters.port) ended the connection during authentication"
        + (count > 1 ? ", after \(count) keys: " : ": ") + session.lastErrorWords,
      hint: count > 1
        ? "name the key that the host knows: ssh.identity_file, with its .pub file beside it; or ssh.identities_only: true"
        : "the host's sshd log says why (MaxAuthTries, AllowUsers, MaxStartups)")
  }
}
