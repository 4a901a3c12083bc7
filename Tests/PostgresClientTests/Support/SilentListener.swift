import Glibc
import Testing

/// Takes TCP connections and says nothing.
final class SilentListener: Sendable {
  let port: Int
  private let socket: Int32

  init() throws {
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let socket = self.socket
    let status = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(socket, address, length) == 0 && listen(socket, 5) == 0 ? getsockname(socket, address, &length) : -1
      }
    }
    port = Int(UInt16(bigEndian: address.sin_port))
    try #require(status == 0)
  }

  deinit { close(socket) }
}
