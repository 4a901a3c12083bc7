/// What an SSH server offers in its KEXINIT, the first packet after the version line, still in the clear (RFC 4253,
/// section 7.1). libssh2 negotiates with it but doesn't show it; without it a failed negotiation could not be
/// explained.
struct ServerOffer: Sendable, Equatable {
  var keyExchanges: [String]
  var hostKeys: [String]

  /// Nil when the bytes that came before the negotiation failed hold no whole KEXINIT.
  init?(_ received: [UInt8]) {
    // Lines may come before the version line.
    var rest = received[...]
    while true {
      guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
      let line = rest[..<end]
      rest = rest[(end + 1)...]
      if line.starts(with: "SSH-".utf8) { break }
    }
    // packet length, padding length, SSH_MSG_KEXINIT, cookie
    guard rest.count > 22, rest[rest.startIndex + 5] == 20 else { return nil }
    var reader = WireReader(rest.dropFirst(22))
    guard let keyExchanges = reader.string(), let hostKeys = reader.string() else { return nil }
    self.keyExchanges = Self.names(keyExchanges)
    self.hostKeys = Self.names(hostKeys)
  }

  private static func names(_ list: ArraySlice<UInt8>) -> [String] {
    list.split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) }
  }
}

/// Reads the strings of SSH's wire format: four bytes of length, then the bytes (RFC 4251, section 5).
struct WireReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  mutating func number() -> Int? {
    guard rest.count >= 4 else { return nil }
    let value = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
    rest = rest.dropFirst(4)
    return value
  }

  mutating func string() -> ArraySlice<UInt8>? {
    guard let length = number(), length <= rest.count else { return nil }
    let bytes = rest.prefix(length)
    rest = rest.dropFirst(length)
    return bytes
  }
}
