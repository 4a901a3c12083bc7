import RemoteHost

/// A report's JSON document with the SHA-256 of the rest of it in its second line, so that a change is seen.
///
/// `grep -v '^  "sha256"' FILE | sha256sum` computes the same. Who changes a document can compute a new hash as well: what
/// was written here is also in the journal, and on the screen of whoever ran it.
enum SealedReport {
  private static let opening = "{\n"

  /// - Parameter document: an object, one member to a line, two spaces before each.
  static func seal(_ document: String) -> (text: String, hash: String) {
    let hash = hexadecimalDigest(document)
    guard document.hasPrefix(opening) else { return (document, hash) }
    return (opening + line(hash) + document.dropFirst(opening.count), hash)
  }

  /// The hash that a document bears, and the one that it should bear; nil when it bears none.
  static func hashes(_ text: String) -> (borne: String, computed: String)? {
    let lines = text.unicodeScalars.split(separator: "\n", maxSplits: 2, omittingEmptySubsequences: false)
    guard lines.count == 3, let borne = hash(in: String(lines[1])) else { return nil }
    return (borne, hexadecimalDigest(String(lines[0]) + "\n" + String(lines[2])))
  }

  private static func line(_ hash: String) -> String { "  \"sha256\": \"\(hash)\",\n" }

  private static func hash(in line: String) -> String? {
    let digits = line.split(separator: "\"", omittingEmptySubsequences: false)
    guard digits.count == 5, Self.line(String(digits[3])) == line + "\n" else { return nil }
    return String(digits[3])
  }

  private static func hexadecimalDigest(_ text: String) -> String {
    let digits = Array("0123456789abcdef")
    return String(sha256(Array(text.utf8)).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }
}
