internal import BlockingIO
internal import Glibc
internal import ReplicationModel

/// A private key's file, as far as it can be read without its passphrase: enough to name the key in an error and to
/// tell a missing passphrase from a wrong one.
/// <https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key>
struct PrivateKeyFile: Sendable {
  let path: String
  /// The file's content, with a zero byte at its end for C.
  let content: [UInt8]
  let isEncrypted: Bool
  /// Of the file itself, or of the `.pub` file beside it for the older PEM files, which don't carry it in the clear; nil
  /// where there is none.
  let publicKey: SSHPublicKey?

  /// - Throws: `ssh.key-unreadable`.
  init(path: String, host: String) throws {
    self.path = expandedPath(path)
    func unreadable(_ words: String, hint: String? = nil) -> ConvoyError {
      ConvoyError("ssh.key-unreadable", "cannot read the private key \(path): \(words)", at: .host(host), hint: hint)
    }
    let bytes: [UInt8]
    do {
      bytes = try contentOfFile(self.path)
    } catch {
      throw unreadable(
        error.words, hint: "identity_file must name the private key, readable for the user who runs this")
    }
    content = bytes + [0]
    let text = String(decoding: bytes, as: UTF8.self)
    if text.hasPrefix("ssh-") || text.hasPrefix("ecdsa-") {
      throw unreadable("this is a public key", hint: "name the private key: the same path without .pub")
    }
    guard text.contains("-----BEGIN "), text.contains("PRIVATE KEY-----") else {
      throw unreadable("not a private key", hint: "make one with: ssh-keygen -t ed25519")
    }
    guard text.contains("BEGIN OPENSSH PRIVATE KEY") else {
      isEncrypted = text.contains("ENCRYPTED")
      publicKey = Self.publicKey(beside: self.path)
      return
    }
    let body = text.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("-----") }.joined()
    let magic = Array("openssh-key-v1\0".utf8)
    guard let blob = base64Decoded(body), blob.starts(with: magic) else { throw unreadable("damaged") }
    var reader = WireReader(blob.dropFirst(magic.count))
    guard let cipher = reader.string(), reader.string() != nil, reader.string() != nil, reader.number() != nil,
      let key = reader.string()
    else { throw unreadable("damaged") }
    isEncrypted = !cipher.elementsEqual("none".utf8)
    publicKey = SSHPublicKey(blob: Array(key))
  }

  /// `ssh-ed25519 AAAA… comment`
  private static func publicKey(beside path: String) -> SSHPublicKey? {
    guard let bytes = try? contentOfFile(path + ".pub") else { return nil }
    let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
    return words.count > 1 ? base64Decoded(String(words[1])).map { SSHPublicKey(blob: $0) } : nil
  }

  /// `~/.ssh/id_ed25519 (ED25519 SHA256:…)`.
  var displayName: String {
    guard let publicKey else { return path }
    return "\(path) (\(publicKey.family) \(publicKey.fingerprint))"
  }
}

/// Why a file could not be read.
struct FileReadError: Error {
  let code: Int32
  var words: String { errorWords(code) }
}

/// A whole file; call it on a dedicated thread.
func contentOfFile(_ path: String) throws(FileReadError) -> [UInt8] {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { throw FileReadError(code: errno) }
  defer { close(file) }
  var content: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let count = read(file, &buffer, buffer.count)
    if count == 0 { return content }
    if count < 0 {
      if errno == EINTR { continue }
      throw FileReadError(code: errno)
    }
    content += buffer[..<count]
  }
}

/// `~/x` in the home directory of the user who runs this; other paths as they are.
func expandedPath(_ path: String) -> String {
  guard path == "~" || path.hasPrefix("~/") else { return path }
  if let home = getenv("HOME") { return String(cString: home) + path.dropFirst() }
  return path
}
