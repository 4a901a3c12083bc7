/// A line of `pg_hba.conf` in its fields, as the server divides it.
/// <https://www.postgresql.org/docs/16/auth-pg-hba-conf.html>
struct HBALine: Equatable {
  /// What commas divide within a field.
  struct Token: Equatable {
    /// Without its quotes.
    var value: String
    /// Whether it begins with a quote: then no word of it means anything but itself.
    var isQuoted: Bool
    /// As it stands.
    var raw: String

    func isKeyword(_ word: String) -> Bool { !isQuoted && value == word }

    /// The group that `+group` names.
    var group: String? { !isQuoted && value.hasPrefix("+") ? String(value.dropFirst()) : nil }

    /// The file that `@file` names.
    var file: String? { !isQuoted && value.hasPrefix("@") && value.count > 1 ? String(value.dropFirst()) : nil }

    /// The regular expression of `/expression`, which version 16 and later know, quoted or not.
    var expression: String? { value.hasPrefix("/") ? String(value.dropFirst()) : nil }
  }

  var fields: [[Token]]

  /// - Parameter text: without its newline.
  init(_ text: String) {
    fields = []
    var scalars = text.unicodeScalars[...]
    while let field = Self.field(&scalars) { fields.append(field) }
  }

  private static func field(_ rest: inout Substring.UnicodeScalarView) -> [Token]? {
    var tokens: [Token] = []
    while true {
      var endsWithComma = false
      guard let token = token(&rest, &endsWithComma) else { break }
      tokens.append(token)
      if !endsWithComma { break }
    }
    return tokens.isEmpty ? nil : tokens
  }

  private static func token(_ rest: inout Substring.UnicodeScalarView, _ endsWithComma: inout Bool) -> Token? {
    rest = rest.drop { isBlank($0) || $0 == "," }
    var value = String.UnicodeScalarView()
    var raw = String.UnicodeScalarView()
    var isInQuotes = false
    var wasQuote = false
    var isQuoted = false
    while let scalar = rest.first, isInQuotes || !isBlank(scalar) {
      if scalar == "#", !isInQuotes {
        rest = rest[rest.endIndex...]
        break
      }
      rest.removeFirst()
      if scalar == ",", !isInQuotes {
        endsWithComma = true
        break
      }
      raw.append(scalar)
      if scalar != "\"" || wasQuote { value.append(scalar) }
      // A quote within quotes is two of them.
      wasQuote = isInQuotes && scalar == "\"" ? !wasQuote : false
      if scalar == "\"" {
        isInQuotes.toggle()
        if value.isEmpty { isQuoted = true }
      }
    }
    return raw.isEmpty ? nil : Token(value: String(value), isQuoted: isQuoted, raw: String(raw))
  }

  private static func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" || scalar == "\r" }

  /// A file's lines. From version 14 on one that ends in a backslash goes on with the next.
  static func all(of text: String, serverVersion: Int) -> [HBALine] {
    var lines: [HBALine] = []
    var pending = String.UnicodeScalarView()
    for line in text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false) {
      var line = line
      while line.last == "\r" { line.removeLast() }
      if line.last == "\\", serverVersion >= 140000 {
        pending.append(contentsOf: line.dropLast())
        continue
      }
      pending.append(contentsOf: line)
      lines.append(HBALine(String(pending)))
      pending = .init()
    }
    lines.append(HBALine(String(pending)))
    return lines.filter { !$0.fields.isEmpty }
  }
}
