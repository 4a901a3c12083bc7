import BlockingIO
import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// An application that is never at a loss: a new connection and one row of `fenced_rows`, again and again.
final class ReconnectLoop: Sendable {
  private let parameters: ConnectionParameters
  private let who: String
  private let pause: Duration
  private let counts = Counts()

  /// `@unchecked Sendable`: both numbers are touched with `condition` locked only.
  final class Counts: @unchecked Sendable {
    let condition = ConditionVariable()
    var acknowledged: [Int] = []
    var refused = 0
  }

  init(_ parameters: ConnectionParameters, who: String = "loop", pause: Duration = .milliseconds(10)) {
    self.parameters = parameters
    self.who = who
    self.pause = pause
  }

  /// The rows' serial numbers whose commits it knows of.
  var acknowledged: [Int] { counts.condition.withLock { counts.acknowledged } }
  var committed: Int { acknowledged.count }
  var refused: Int { counts.condition.withLock { counts.refused } }

  func run(until stop: Flag) async throws {
    let (parameters, counts, who, pause) = (self.parameters, self.counts, who, pause)
    try await onDedicatedThread("reconnect") {
      var serial = 0
      while !stop.isRaised {
        serial += 1
        do {
          let connection = try PostgresConnection.connect(parameters)
          try connection.script("INSERT INTO fenced_rows VALUES (\(quotedLiteral(who)), \(serial))")
          counts.condition.withLock { counts.acknowledged.append(serial) }
        } catch {
          counts.condition.withLock { counts.refused += 1 }
        }
        if pause > .zero { _ = poll([], until: .after(pause)) }
      }
    }
  }
}

/// A client that has sent its start-up packet and says no more: the server waits for its password. Or one that has not
/// said a word.
final class HalfOpenLogin: Sendable {
  private let socket: Int32

  init(_ host: LabHost, isMute: Bool = false) throws {
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(host.postgresPort).bigEndian)
    inet_pton(AF_INET, host.address, &address.sin_addr)
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(connected == 0)
    if isMute { return }
    // https://www.postgresql.org/docs/15/protocol-message-formats.html, StartupMessage
    let body = [UInt8]([0, 3, 0, 0]) + Array("user\0app\0database\0beta\0\0".utf8)
    let packet = [0, 0, 0, UInt8(body.count + 4)] + body
    try #require(write(socket, packet, packet.count) == packet.count)
    var reply = [UInt8](repeating: 0, count: 1)
    try #require(read(socket, &reply, 1) == 1 && reply[0] == UInt8(ascii: "R"))
  }

  deinit { close(socket) }

  /// Whether the server has ended the connection.
  func isClosedByServer(within limit: Duration) -> Bool {
    let deadline = Deadline.after(limit)
    var bytes = [UInt8](repeating: 0, count: 4096)
    while poll([(socket, Int16(POLLIN))], until: deadline)[0] != 0 {
      if read(socket, &bytes, bytes.count) <= 0 { return true }
    }
    return false
  }
}
