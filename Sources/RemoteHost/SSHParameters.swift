/// How to reach a host by SSH and whom to log in as.
public struct SSHParameters: Sendable {
  /// Where a passphrase comes from; asked once for each connection, and only when the key is encrypted.
  public typealias PassphraseSource = @Sendable () async throws -> [UInt8]

  /// The host's name in the inventory; the place of every error.
  public var name: String
  /// A name or an address; known_hosts is searched for it as it is written here.
  public var host: String
  public var port: UInt16
  public var user: String
  /// A private key, OpenSSH's format or PEM; `~` is expanded. Tried first; by the agent, where it is encrypted and the
  /// agent has it.
  public var identityFile: String?
  public var passphrase: PassphraseSource?
  /// More private keys, tried behind it; one that cannot be read is passed over.
  public var moreIdentityFiles: [String] = []
  /// Asks a person for an encrypted key's passphrase, when the agent has not helped either; called on a thread of the
  /// connection's own. Nil is a refusal.
  public var prompt: (@Sendable (_ key: String) -> [UInt8]?)?
  /// The connection goes through this host, in a channel of its own (ssh_config's ProxyJump). Closed with this one.
  public var jump: SSHHost?
  /// Host keys that are trusted; `~` is expanded. No other file is searched, and none is ever written.
  public var knownHostsFile: String
  /// Whether to ask the agent for keys.
  public var useAgent: Bool
  /// Whether to use those of its keys only that the identity files name.
  public var identitiesOnly = false
  /// The agent's socket; nil: what `SSH_AUTH_SOCK` says.
  public var agentSocket: String?
  /// For all of it: connection, key exchange, authentication.
  public var connectTimeout: Duration
  /// How often an idle connection sends something, so that firewalls remember it.
  public var keepAliveInterval: Duration
  /// The sessions that the server allows on one connection (sshd's `MaxSessions`). Commands beyond it wait; one is kept
  /// for ending others.
  public var maximumSessions: Int

  public init(
    name: String, host: String, port: UInt16 = 22, user: String, identityFile: String? = nil,
    passphrase: PassphraseSource? = nil, knownHostsFile: String = "~/.ssh/known_hosts", useAgent: Bool = true,
    agentSocket: String? = nil, connectTimeout: Duration = .seconds(15), keepAliveInterval: Duration = .seconds(15),
    maximumSessions: Int = 10
  ) {
    self.name = name
    self.host = host
    self.port = port
    self.user = user
    self.identityFile = identityFile
    self.passphrase = passphrase
    self.knownHostsFile = knownHostsFile
    self.useAgent = useAgent
    self.agentSocket = agentSocket
    self.connectTimeout = connectTimeout
    self.keepAliveInterval = keepAliveInterval
    self.maximumSessions = maximumSessions
  }

  /// `user@host` with the port unless it is 22.
  var destination: String { "\(user)@\(host)" + (port == 22 ? "" : " port \(port)") }
}
