import Glibc

/// A port of a loopback address that nobody listens on at the moment.
package func freePort(on address: String = "127.0.0.1") throws -> Int {
  let (socket, port) = try boundSocket(on: address)
  close(socket)
  return port
}

/// Whether something listens there.
package func isListening(_ port: Int, on address: String = "127.0.0.1") -> Bool {
  let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  defer { close(file) }
  return withSocketAddress(address, port) { connect(file, $0, $1) } == 0
}

/// Takes TCP connections and says nothing: the kernel accepts for it. Ends with the object.
package final class SilentListener: Sendable {
  package let port: Int
  private let socket: Int32

  package init(on address: String = "127.0.0.1") throws {
    (socket, port) = try boundSocket(on: address)
    guard listen(socket, 5) == 0 else {
      throw TestFailure("cannot listen on \(address): \(String(cString: strerror(errno)))")
    }
  }

  deinit { close(socket) }
}

private func boundSocket(on address: String) throws -> (socket: Int32, port: Int) {
  let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  var name = sockaddr_in()
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let bound = withSocketAddress(address, 0) { bind(file, $0, $1) } == 0
  let named = withUnsafeMutablePointer(to: &name) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(file, $0, &length) == 0 }
  }
  guard bound, named else {
    let reason = String(cString: strerror(errno))
    close(file)
    throw TestFailure("no free port on \(address): \(reason)")
  }
  return (file, Int(UInt16(bigEndian: name.sin_port)))
}

private func withSocketAddress<Result>(
  _ address: String, _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  var name = sockaddr_in()
  name.sin_family = sa_family_t(AF_INET)
  name.sin_port = in_port_t(truncatingIfNeeded: port).bigEndian
  inet_pton(AF_INET, address, &name.sin_addr)
  return withUnsafePointer(to: &name) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}
