/// A public key as SSH writes it on the wire, with the names that people know it by.
struct SSHPublicKey: Sendable, Equatable {
  let blob: [UInt8]

  /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`: the first string in the blob.
  var type: String {
    guard blob.count >= 4 else { return "unknown" }
    let length = blob[..<4].reduce(0) { $0 << 8 | Int($1) }
    guard length <= blob.count - 4 else { return "unknown" }
    return String(decoding: blob[4..<(4 + length)], as: UTF8.self)
  }

  /// `SHA256:` and the digest in base64 without padding, as `ssh-keygen -l` prints it.
  var fingerprint: String { "SHA256:" + base64Encoded(sha256(blob), padded: false) }

  /// `ED25519`, `ECDSA`, `RSA`.
  var family: String { Self.family(ofType: type) }

  static func family(ofType type: String) -> String {
    if type.hasPrefix("ecdsa-") { return "ECDSA" }
    switch type {
    case "ssh-ed25519": return "ED25519"
    case "ssh-rsa", "rsa-sha2-256", "rsa-sha2-512": return "RSA"
    case "ssh-dss": return "DSA"
    default: return type
    }
  }

  /// The key types whose signatures libssh2 1.10 checks and today's servers make, best first.
  static let supportedTypes = [
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
  ]
}

/// A known_hosts file, read as OpenSSH reads it.
/// <https://man.openbsd.org/sshd.8#SSH_KNOWN_HOSTS_FILE_FORMAT>
///
/// `[db1]:2222,10.0.0.? ssh-ed25519 AAAA… comment` is one key for two patterns. Lines that cannot be read are passed
/// over, as OpenSSH does.
struct KnownHosts: Sendable {
  enum Marker: Sendable, Equatable {
    case trusted
    case revoked
    case certificateAuthority
  }

  struct Entry: Sendable, Equatable {
    var marker: Marker
    var patterns: [String]
    var key: SSHPublicKey
    /// From 1.
    var line: Int
  }

  /// What a file says about one host.
  struct Answer: Sendable, Equatable {
    var trusted: [Entry] = []
    var revoked: [Entry] = []
    var certificateAuthorities: [Entry] = []
  }

  private(set) var entries: [Entry] = []

  init(_ content: [UInt8]) {
    let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == 13 }
    let lines = content.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      var fields = line.split(maxSplits: 5, whereSeparator: isBlank).map { String(decoding: $0, as: UTF8.self) }
      guard let first = fields.first, !first.hasPrefix("#") else { continue }
      var marker = Marker.trusted
      if first.hasPrefix("@") {
        switch first {
        case "@revoked": marker = .revoked
        case "@cert-authority": marker = .certificateAuthority
        default: continue
        }
        fields.removeFirst()
      }
      guard fields.count >= 3, let blob = base64Decoded(fields[2]) else { continue }
      let key = SSHPublicKey(blob: blob)
      guard key.type == fields[1] else { continue }
      let patterns = fields[0].split(separator: ",").map { String($0) }
      entries.append(Entry(marker: marker, patterns: patterns, key: key, line: index + 1))
    }
  }

  /// The name that known_hosts has for a host: the bare one for port 22, `[host]:port` for others.
  static func name(host: String, port: UInt16) -> String {
    port == 22 ? host.lowercased() : "[\(host.lowercased())]:\(port)"
  }

  func answer(host: String, port: UInt16) -> Answer {
    let name = Self.name(host: host, port: port)
    var answer = Answer()
    for entry in entries where Self.matches(name, entry.patterns) {
      switch entry.marker {
      case .trusted: answer.trusted.append(entry)
      case .revoked: answer.revoked.append(entry)
      case .certificateAuthority: answer.certificateAuthorities.append(entry)
      }
    }
    return answer
  }

  /// A negated pattern that matches outweighs all others of its line.
  static func matches(_ name: String, _ patterns: [String]) -> Bool {
    var found = false
    for pattern in patterns {
      if pattern.hasPrefix("|1|") {
        if matchesHash(name, pattern) { found = true }
      } else if pattern.hasPrefix("!") {
        if matchesWildcard(Array(name.utf8), Array(pattern.lowercased().utf8.dropFirst())) { return false }
      } else if matchesWildcard(Array(name.utf8), Array(pattern.lowercased().utf8)) {
        found = true
      }
    }
    return found
  }

  /// `|1|SALT|HASH`: the HMAC-SHA1 of the name under the salt, both in base64.
  private static func matchesHash(_ name: String, _ pattern: String) -> Bool {
    let parts = pattern.split(separator: "|", omittingEmptySubsequences: false)
    guard parts.count == 4, let salt = base64Decoded(parts[2]), let hash = base64Decoded(parts[3]) else {
      return false
    }
    return hmacSHA1(key: salt, Array(name.utf8)) == hash
  }

  /// `*` is any number of characters, `?` one.
  private static func matchesWildcard(_ name: [UInt8], _ pattern: [UInt8]) -> Bool {
    var (nameIndex, patternIndex) = (0, 0)
    var retry: (name: Int, pattern: Int)?
    while nameIndex < name.count {
      if patternIndex < pattern.count, pattern[patternIndex] == UInt8(ascii: "*") {
        retry = (nameIndex, patternIndex)
        patternIndex += 1
      } else if patternIndex < pattern.count,
        pattern[patternIndex] == UInt8(ascii: "?") || pattern[patternIndex] == name[nameIndex]
      {
        nameIndex += 1
        patternIndex += 1
      } else if let point = retry {
        retry = (point.name + 1, point.pattern)
        nameIndex = point.name + 1
        patternIndex = point.pattern + 1
      } else {
        return false
      }
    }
    return pattern[patternIndex...].allSatisfy { $0 == UInt8(ascii: "*") }
  }
}
