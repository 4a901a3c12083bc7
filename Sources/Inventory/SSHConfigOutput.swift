/// What `ssh -G HOST` prints: one lowercase keyword and its value on each line, everything resolved.
/// <https://man.openbsd.org/ssh.1>
public struct SSHConfigOutput: Sendable, Equatable {
  private var entries: [(key: String, value: String)] = []

  public init(parsing text: String) {
    for line in text.split(whereSeparator: \.isNewline) {
      guard let space = line.firstIndex(of: " ") else { continue }
      entries.append((line[..<space].lowercased(), String(line[line.index(after: space)...])))
    }
  }

  public static func == (left: SSHConfigOutput, right: SSHConfigOutput) -> Bool {
    left.entries.elementsEqual(right.entries) { $0 == $1 }
  }

  public subscript(key: String) -> String? { entries.first { $0.key == key }?.value }

  /// Of keywords that may come several times.
  public func all(_ key: String) -> [String] { entries.filter { $0.key == key }.map(\.value) }

  /// Nil for `none`.
  func optional(_ key: String) -> String? {
    self[key].flatMap { $0.lowercased() == "none" ? nil : $0 }
  }
}

/// One hop of a ProxyJump: `user@host:port`, `[2001:db8::1]:22`, `ssh://user@host:port`.
public struct SSHDestination: Sendable, Equatable {
  public var host: String
  public var user: String?
  public var port: Int?

  /// Nil when it cannot be read.
  public init?(_ text: String) {
    var rest = text.hasPrefix("ssh://") ? text.dropFirst(6) : text[...]
    while rest.last == "/" { rest = rest.dropLast() }
    if let at = rest.lastIndex(of: "@") {
      user = String(rest[..<at])
      rest = rest[rest.index(after: at)...]
    }
    if rest.hasPrefix("["), let close = rest.firstIndex(of: "]") {
      host = String(rest[rest.index(after: rest.startIndex)..<close])
      rest = rest[rest.index(after: close)...]
    } else {
      // More than one colon is an IPv6 address without a port.
      let colons = rest.count { $0 == ":" }
      let end = colons == 1 ? rest.firstIndex(of: ":") ?? rest.endIndex : rest.endIndex
      host = String(rest[..<end])
      rest = rest[end...]
    }
    if rest.hasPrefix(":") {
      guard let number = Int(rest.dropFirst()), (1...65535).contains(number) else { return nil }
      port = number
    } else if !rest.isEmpty {
      return nil
    }
    if host.isEmpty || user?.isEmpty == true { return nil }
  }
}

extension Host {
  /// The address that `ssh -G` is asked about.
  public var sshAlias: String { address }

  /// Fills in from `ssh -G` what the inventory leaves open; what it says itself wins.
  ///
  /// - Parameter readable: whether a private key's file is there.
  public mutating func apply(_ output: SSHConfigOutput, readable: (String) -> Bool) {
    func isOpen(_ key: String) -> Bool { origins[key] == .builtIn }
    func note(_ key: String) { origins[key] = .sshConfig }
    if let name = output["hostname"], name != address {
      let followsHost = postgres.via == .ssh || isOpen("postgres.address")
      if followsHost, isOpen("postgres.replication_address") { postgres.replicationAddress = name }
      if isOpen("postgres.address"), postgres.via == .direct {
        postgres.address = name
        note("postgres.address")
      }
      address = name
      note("address")
    }
    ssh.apply(output, isOpen: { isOpen("ssh.\($0)") }, note: { note("ssh.\($0)") }, readable: readable)
  }
}

extension SSHSettings {
  /// The same for a host that stands in no inventory: everything is open.
  public mutating func apply(
    _ output: SSHConfigOutput, isOpen: (String) -> Bool = { _ in true }, note: (String) -> Void = { _ in },
    readable: (String) -> Bool
  ) {
    if isOpen("user"), let user = output["user"] {
      self.user = user
      note("user")
    }
    if isOpen("port"), let port = output["port"].flatMap({ Int($0) }) {
      self.port = port
      note("port")
    }
    if isOpen("identity_file") {
      let files = output.all("identityfile").filter { $0.lowercased() != "none" && readable($0) }
      if !files.isEmpty { note("identity_file") }
      identityFile = nil
      moreIdentityFiles = files
    }
    if isOpen("identities_only"), output["identitiesonly"]?.lowercased() == "yes" {
      identitiesOnly = true
      note("identities_only")
    }
    if isOpen("known_hosts"), let files = output["userknownhostsfile"] {
      let list = files.split(separator: " ").map(String.init)
      if let file = list.first(where: readable) ?? list.first {
        knownHosts = file
        note("known_hosts")
      }
    }
    if proxyJump == nil, let jump = output.optional("proxyjump") {
      proxyJump = jump
      note("proxy_jump")
    }
  }
}
