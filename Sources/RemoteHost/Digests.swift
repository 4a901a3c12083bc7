internal import Crypto
internal import FoundationEssentials

/// SHA-256 (FIPS 180-4), for the fingerprints of keys and the seals of reports.
///
/// swift-crypto has one owner, and this is the lowest room that needs it; rooms above take what they need from here.
package func sha256(_ message: [UInt8]) -> [UInt8] {
  Array(SHA256.hash(data: message))
}

/// HMAC-SHA1 (RFC 2104), which hashed host names in known_hosts are made with. Not for anything that must resist a
/// collision.
func hmacSHA1(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
  Array(HMAC<Insecure.SHA1>.authenticationCode(for: message, using: SymmetricKey(data: key)))
}

/// Base64 (RFC 4648).
func base64Encoded(_ bytes: [UInt8], padded: Bool = true) -> String {
  let text = Data(bytes).base64EncodedString()
  return padded ? text : String(text.prefix { $0 != "=" })
}

/// Nil when it isn't base64; padding may be missing, or too long.
func base64Decoded(_ text: some StringProtocol) -> [UInt8]? {
  // Foundation wants exactly the padding that is due, and takes one that is too long for a zero byte.
  var digits = String(text)
  while digits.last == "=" { digits.removeLast() }
  let padding = (4 - digits.utf8.count % 4) % 4
  guard padding < 3 else { return nil }
  return Data(base64Encoded: digits + String(repeating: "=", count: padding)).map { Array($0) }
}
