/// What a server said at a session's start or end, taken out of libpq's text: for those libpq keeps no result.
///
/// In its verbose form the text has the SQLSTATE and the routine that spoke, whatever language the server speaks:
/// `FATAL:  28000: …` and, lines below, `LOCATION:  ClientAuthentication, auth.c:489`.
struct ServerWords: Equatable {
  /// One line.
  var message: String
  /// Nil where no server has spoken.
  var sqlState: SQLState?
  var routine: String?

  /// - Parameter text: `connection to server at "127.0.0.1", port 5432 failed: FATAL:  …`, one attempt (TLS and plain, each
  ///   address) below the other; the last one counts. libpq indents advice of its own with a tab, and says on a line of
  ///   its own which file a password came from.
  init(startUp text: String) {
    let lines = text.split(separator: "\n").filter {
      !$0.hasPrefix("\t") && !$0.hasPrefix("password retrieved from file")
    }
    // libpq's own words, which it does not translate here: nothing in this program sets a locale.
    let attempt =
      lines.lastIndex { $0.contains(" failed: ") } ?? lines.firstIndex { Self.state(in: $0) != nil }
      ?? lines.indices.last
    self.init(lines: attempt.map { Array(lines[$0...]) } ?? ["connection failed"])
    if let mark = message.firstRange(of: " failed: ") { message = String(message[mark.upperBound...]) }
  }

  /// - Parameter text: `FATAL:  57P01: terminating connection due to …`, or what libpq says of a connection that is gone.
  init(_ text: String) {
    self.init(lines: text.split(separator: "\n"))
    if message.isEmpty { message = "the connection ended" }
  }

  private init(lines: [Substring]) {
    message = lines.first.map(String.init) ?? ""
    guard let first = lines.first, let found = Self.state(in: first) else { return }
    sqlState = found.state
    message = String(first[found.message...])
    guard let place = lines.last(where: { $0.contains(".c:") }), let colon = place.firstRange(of: ":  ") else { return }
    routine = String(place[colon.upperBound...].prefix { $0 != "," })
  }

  /// Five characters, digits among them, between the severity, a word in the server's language, and the message.
  private static func state(in line: Substring) -> (state: SQLState, message: String.Index)? {
    var rest = line
    while let mark = rest.firstRange(of: ":  ") {
      rest = rest[mark.upperBound...]
      let code = rest.prefix(5)
      let behind = rest.dropFirst(5)
      if code.utf8.count == 5, code.utf8.allSatisfy(isOfState), code.contains(where: \.isNumber), behind.hasPrefix(": ")
      {
        return (SQLState(rawValue: String(code)), behind.index(behind.startIndex, offsetBy: 2))
      }
    }
    return nil
  }

  private static func isOfState(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
  }
}
