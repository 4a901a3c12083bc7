import Glibc

/// Why a server, or the network, let no replication connection in; taken from psql's words, which have no SQLSTATE.
///
/// libpq's own are English, since it runs in the C locale. The server's are in its language: of those goes only the name of
/// a file, which no language changes, and what they say in English; the rest is `other`, with the words for a person.
package enum ReplicationRefusal: Equatable {
  /// The address is the client's, as the server saw it.
  case noRecord(address: String?, message: String)
  case rejected(String)
  case wrongPassword(String)
  case unreachable(String)
  case other(String)

  /// `psql: error: connection to server at "127.0.0.1", port 5432 failed: FATAL:  no pg_hba.conf entry for
  /// replication connection from host "127.0.0.2", user "u", SSL encryption`; with sslmode=prefer both attempts speak.
  package init(_ output: String) {
    let lines = output.split(separator: "\n").map { $0.drop { $0 == " " || $0 == "\t" } }
    let line = lines.first { $0.contains("FATAL:") } ?? lines.first { $0.contains("failed:") } ?? lines.first ?? ""
    var message = line
    if let mark = message.firstRange(of: "FATAL:") { message = message[mark.upperBound...].drop { $0 == " " } }
    if message.hasPrefix("psql: error: ") { message = message.dropFirst("psql: error: ".count) }
    let text = message.isEmpty ? "psql said nothing" : String(message)
    if output.contains("pg_hba.conf rejects") {
      self = .rejected(text)
    } else if output.contains("pg_hba.conf") {
      self = .noRecord(address: Self.address(in: String(line)), message: text)
    } else if output.contains("password authentication failed") || output.contains("no password supplied") {
      self = .wrongPassword(text)
    } else if ["Connection refused", "timeout expired", "timed out", "No route to host", "could not translate"]
      .contains(where: output.contains)
    {
      self = .unreachable(text)
    } else {
      self = .other(text)
    }
  }

  package var message: String {
    switch self {
    case .noRecord(_, let message), .rejected(let message), .wrongPassword(let message), .unreachable(let message),
      .other(let message):
      message
    }
  }

  /// The first one that the server names, whatever language it puts it into; libpq names the server's own before.
  package static func address(in words: String) -> String? {
    let start = words.firstRange(of: " failed: ")?.upperBound ?? words.startIndex
    return words[start...].split { !($0.isHexDigit || $0 == "." || $0 == ":") }.map(String.init).first(where: isAddress)
  }

  private static func isAddress(_ text: String) -> Bool {
    var buffer = in6_addr()
    return inet_pton(AF_INET, text, &buffer) == 1 || inet_pton(AF_INET6, text, &buffer) == 1
  }
}
