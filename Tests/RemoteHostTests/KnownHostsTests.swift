import Testing

@testable import RemoteHost

struct KnownHostsTests {
  @Test(arguments: [
    ("db1", ["db1"], true), ("db1", ["db2"], false), ("db1", ["db2", "db1"], true), ("db1", ["db?"], true),
    ("db1", ["*"], true), ("db12", ["db?"], false), ("db1", ["*", "!db1"], false), ("db1", ["!db2"], false),
    ("[db1]:2222", ["[db1]:2222"], true), ("[db1]:2222", ["db1"], false), ("10.0.0.5", ["10.0.0.*"], true),
    ("a.example", ["*.example", "!b.*"], true), ("db1", ["DB1"], true),
    // The hash of another name.
    ("db1", ["|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="], false),
  ])
  func names(_ name: String, _ patterns: [String], _ matches: Bool) {
    #expect(KnownHosts.matches(name, patterns) == matches)
  }

  @Test func hashedNames() {
    let salt = (0..<20).map { UInt8($0) }
    let hash = hmacSHA1(key: salt, Array("[db1]:2222".utf8))
    let pattern = "|1|\(base64Encoded(salt))|\(base64Encoded(hash))"
    #expect(KnownHosts.matches("[db1]:2222", [pattern]))
    #expect(!KnownHosts.matches("db1", [pattern]))
  }

  @Test func badLinesArePassedOver() {
    let key = base64Encoded([0, 0, 0, 11] + Array("ssh-ed25519".utf8) + [0, 0, 0, 1, 7])
    let file = KnownHosts(
      Array(
        """
        # comment
        db1 ssh-ed25519
        db1 ssh-ed25519 !!!!
        db1 ssh-rsa \(key)
        @something db1 ssh-ed25519 \(key)

          db1\tssh-ed25519   \(key) comment with words\r
        @revoked db1 ssh-ed25519 \(key)
        """.utf8))
    #expect(file.entries.map(\.line) == [7, 8])
    let answer = file.answer(host: "DB1", port: 22)
    #expect(answer.trusted.map(\.line) == [7])
    #expect(answer.revoked.map(\.line) == [8])
    #expect(answer.trusted[0].key.family == "ED25519")
  }

  @Test func digests() {
    func hexadecimal(_ bytes: [UInt8]) -> String {
      bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
    #expect(
      hexadecimal(sha256(Array("abc".utf8)))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(
      hexadecimal(sha256(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)))
        == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    // RFC 2202, cases 2 and 6.
    #expect(
      hexadecimal(hmacSHA1(key: Array("Jefe".utf8), Array("what do ya want for nothing?".utf8)))
        == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
    #expect(
      hexadecimal(
        hmacSHA1(
          key: [UInt8](repeating: 0xAA, count: 80), Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8)
        ))
        == "aa4ae5e15272d00e95705637ce8a3b55ed402112")
  }

  @Test(arguments: 0..<70)
  func base64ThereAndBack(_ count: Int) {
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ count) }
    #expect(base64Decoded(base64Encoded(bytes)) == bytes)
    #expect(base64Decoded(base64Encoded(bytes, padded: false)) == bytes)
  }

  @Test(arguments: ["!!!!", "A", "A===", "AAA=A", "AA A", "AAAA\n", "ÄAAA", "AAAAA", "A=AA"])
  func notBase64(_ text: String) {
    #expect(base64Decoded(text) == nil)
  }

  @Test func paddingMayBeMissingOrTooLong() {
    for text in ["AQ", "AQ=", "AQ==", "AQ==="] { #expect(base64Decoded(text) == [1]) }
    for text in ["", "===="] { #expect(base64Decoded(text) == []) }
  }

  @Test func aServersOfferIsReadAtAnyLength() {
    func string(_ text: String) -> [UInt8] { [0, 0, 0, UInt8(text.utf8.count)] + Array(text.utf8) }
    let payload =
      [UInt8](repeating: 20, count: 1) + [UInt8](repeating: 1, count: 16) + string("curve25519-sha256")
      + string("rsa-sha2-512,rsa-sha2-256")
    let bytes = Array("hello\r\nSSH-2.0-OpenSSH_9.2\r\n".utf8) + [0, 0, 1, 0, 4] + payload
    #expect(ServerOffer(bytes)?.hostKeys == ["rsa-sha2-512", "rsa-sha2-256"])
    for count in 0..<bytes.count { #expect(ServerOffer(Array(bytes[..<count])) == nil) }
  }

  @Test(arguments: [
    ("", "''"), ("a", "a"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("-D", "-D"), ("--mode=x", "--mode=x"),
    ("A=b", "'A=b'"), ("if", "'if'"), ("~", "'~'"), ("/etc/x.conf", "/etc/x.conf"), ("a\nb", "'a\nb'"),
  ])
  func quoting(_ argument: String, _ quoted: String) {
    #expect(shellQuoted(argument) == quoted)
  }
}
