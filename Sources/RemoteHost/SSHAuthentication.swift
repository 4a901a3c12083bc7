internal import BlockingIO
internal import CLibSSH2
internal import ReplicationModel

/// Logs a session in: the identity files that can be opened first, then the agent's keys, then those whose passphrase
/// a person gives.
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
    for identity in identities {
      if identity.file.isEncrypted, identity.passphrase == nil {
        tried.append("\(identity.file.displayName): encrypted, no passphrase")
      } else if try accepts(identity) {
        return
      }
    }
    if parameters.useAgent, try agentAccepts() { return }
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
    if session.socket.failure != nil { throw lost() }
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

  private mutating func agentAccepts() throws -> Bool {
    guard let agent = libssh2_agent_init(session.handle) else { return false }
    defer { libssh2_agent_free(agent) }
    if let path = parameters.agentSocket { libssh2_agent_set_identity_path(agent, expandedPath(path)) }
    guard libssh2_agent_connect(agent) == 0 else {
      tried.append("agent: none is running")
      return false
    }
    defer { libssh2_agent_disconnect(agent) }
    guard libssh2_agent_list_identities(agent) == 0 else {
      tried.append("agent: it does not answer")
      return false
    }
    var previous: UnsafeMutablePointer<libssh2_agent_publickey>?
    var count = 0
    while true {
      var next: UnsafeMutablePointer<libssh2_agent_publickey>?
      guard libssh2_agent_get_identity(agent, &next, previous) == 0, let key = next else { break }
      previous = key
      count += 1
      let bytes = UnsafeRawBufferPointer(start: key.pointee.blob, count: key.pointee.blob_len)
      let publicKey = SSHPublicKey(blob: bytes.map { $0 })
      noteType(publicKey)
      let user = parameters.user
      let status = try session.complete("authentication") { _ in libssh2_agent_userauth(agent, user, key) }
      if status == 0 { return true }
      if session.socket.failure != nil { throw lost() }
      tried.append("agent key \(publicKey.family) \(publicKey.fingerprint)")
    }
    if count == 0 { tried.append("agent: it has no keys") }
    return false
  }

  private mutating func noteType(_ key: SSHPublicKey?) {
    if key?.family == "RSA" { sawRSA = true }
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

  private func lost() -> ConvoyError {
    session.failure(
      "ssh.connection-lost",
      "\(parameters.host) port \(parameters.port) ended the connection during authentication: "
        + session.lastErrorWords, hint: "the host's sshd log says why (MaxAuthTries, AllowUsers, MaxStartups)")
  }
}
