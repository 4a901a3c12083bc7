internal import BlockingIO
internal import CLibSSH2
internal import ReplicationModel

/// Connects and makes sure that the host is the one it says it is: before that, nothing about the user is sent.
struct HostKeyCheck {
  private let parameters: SSHParameters
  private let deadline: Deadline
  private let control: ConnectControl
  private let file: String
  private let answer: KnownHosts.Answer

  init(_ parameters: SSHParameters, until deadline: Deadline, control: ConnectControl) throws {
    self.parameters = parameters
    self.deadline = deadline
    self.control = control
    file = expandedPath(parameters.knownHostsFile)
    do {
      answer = KnownHosts(try contentOfFile(file)).answer(host: parameters.host, port: parameters.port)
    } catch let error where error.code == 2 {
      // A file that isn't there knows no host.
      answer = KnownHosts.Answer()
    } catch {
      throw ConvoyError(
        "ssh.known-hosts-unreadable", "cannot read \(file): \(error.words)", at: .host(parameters.name))
    }
  }

  /// A session whose host key is trusted.
  ///
  /// - Throws: `ssh.host-key-unknown`, `-changed`, `-revoked`, `ssh.rsa-only`, `ssh.unreachable`, `ssh.timeout`,
  ///   `ssh.protocol`.
  func connect() throws -> SSHSession {
    let known = answer.trusted.map(\.key.type)
    let usable = SSHPublicKey.supportedTypes.filter { known.contains($0) }
    if usable.isEmpty && known.contains("ssh-rsa") {
      throw rsaOnly("\(file) has only an RSA key for \(displayName)", hint: "add another key of the host: " + addHint)
    }
    let session = try SSHSession(
      parameters, hostKeyTypes: usable.isEmpty ? SSHPublicKey.supportedTypes : usable, until: deadline,
      control: control)
    if try session.handshake() != 0 {
      if let jump = parameters.jump, session.socket.receivedCount == 0 {
        throw session.failure(
          "ssh.unreachable", "\(displayName) cannot be reached through \(jump.name)",
          hint: "is sshd running there, does \(jump.name) resolve and reach it, and does its sshd allow forwarding?")
      }
      let offer = ServerOffer(session.socket.firstReceived ?? [])
      guard let offer, offer.hostKeys.allSatisfy({ !usable.contains($0) }) || usable.isEmpty else {
        throw handshakeFailure(session, offer)
      }
      let other = SSHPublicKey.supportedTypes.filter { offer.hostKeys.contains($0) }
      if other.isEmpty {
        if offer.hostKeys.contains(where: { SSHPublicKey.family(ofType: $0) == "RSA" }) {
          throw rsaOnly(
            "\(displayName) offers only an RSA host key",
            hint: "make the others on the host with ssh-keygen -A, and restart its sshd")
        }
        throw handshakeFailure(session, offer)
      }
      guard !usable.isEmpty else { throw handshakeFailure(session, offer) }
      // None of the keys that we know is offered. Ask again, only to say which one is.
      let second = try SSHSession(parameters, hostKeyTypes: other, until: deadline, control: control)
      guard try second.handshake() == 0 else { throw handshakeFailure(second, offer) }
      try check(second)
      throw handshakeFailure(second, offer)
    }
    try check(session)
    session.socket.stopRecording()
    return session
  }

  private func check(_ session: SSHSession) throws {
    guard let key = session.hostKey else { throw handshakeFailure(session, nil) }
    let shown = "\(key.family) key \(key.fingerprint)"
    if let entry = answer.revoked.first(where: { $0.key == key }) {
      throw session.failure(
        "ssh.host-key-revoked", "\(displayName) presented the revoked \(shown) (\(file) line \(entry.line))",
        hint: "do not connect to this host before its key has been replaced")
    }
    if answer.trusted.contains(where: { $0.key == key }) { return }
    if answer.trusted.isEmpty {
      let authority = answer.certificateAuthorities.first.map { entry in
        "; \(file) line \(entry.line) trusts a certificate authority for it, which is not supported"
      }
      throw session.failure(
        "ssh.host-key-unknown", "\(displayName) is not in \(file); it presented the \(shown)\(authority ?? "")",
        hint: "compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_\(key.family.lowercased())_key.pub` on "
          + "the host, then add the key: " + addHint)
    }
    let known = answer.trusted.map { "\($0.key.family) \($0.key.fingerprint) in line \($0.line)" }
    throw session.failure(
      "ssh.host-key-changed",
      "\(displayName) presented the \(shown), but \(file) has \(known.joined(separator: ", "))",
      hint: "someone may be in between; if the host really has a new key, forget the old one: ssh-keygen -R "
        + "\(shellQuoted(KnownHosts.name(host: parameters.host, port: parameters.port))) -f \(shellQuoted(file))"
        + ", then: " + addHint)
  }

  private var displayName: String { "\(parameters.host) port \(parameters.port)" }

  private var addHint: String {
    "ssh-keyscan -p \(parameters.port) -t ed25519,ecdsa \(shellQuoted(parameters.host)) >> \(shellQuoted(file))"
  }

  private func rsaOnly(_ words: String, hint: String) -> ConvoyError {
    ConvoyError(
      "ssh.rsa-only",
      words + ", and libssh2 1.10 verifies RSA signatures with SHA-1 only, which must not be trusted",
      at: .host(parameters.name), hint: hint)
  }

  private func handshakeFailure(_ session: SSHSession, _ offer: ServerOffer?) -> ConvoyError {
    session.failure(
      "ssh.protocol", "the key exchange with \(displayName) failed: \(session.lastErrorWords)",
      hint: offer == nil ? "is that port sshd's?" : nil,
      cause: offer.map {
        "the server offers key exchanges \($0.keyExchanges.joined(separator: ",")), host keys "
          + $0.hostKeys.joined(separator: ",")
      })
  }
}
