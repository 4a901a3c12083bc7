internal import BlockingIO
internal import CLibSSH2
internal import Glibc
internal import ReplicationModel

/// Where a tunnel leads, as the SSH server sees it.
struct SSHTunnelTarget: Sendable {
  var host: String
  var port: UInt16
}

/// Local ports that lead through a session (direct-tcpip, RFC 4254, section 7.2). Confined to the session's thread.
final class SSHTunnels {
  private struct Listener {
    var fileDescriptor: Int32
    var port: UInt16
    var target: SSHTunnelTarget
  }

  private let session: SSHSession
  private var listeners: [Listener] = []
  private var connections: [SSHTunnelConnection] = []
  private var opening: SSHTunnelConnection?

  init(_ session: SSHSession) {
    self.session = session
  }

  var isOpening: Bool { opening != nil }

  var pollDescriptors: [(fileDescriptor: Int32, events: Int16)] {
    listeners.map { ($0.fileDescriptor, Int16(POLLIN)) }
      + connections.map { ($0.fileDescriptor, $0.pollEvents) }.filter { $0.1 != 0 }
  }

  /// Takes a socket whose other end somebody has, and leads it to the target.
  func adopt(_ file: Int32, _ target: SSHTunnelTarget) {
    makePrivate(file)
    connections.append(SSHTunnelConnection(file, target))
  }

  /// Listens on a port of 127.0.0.1: this one, or with 0 a free one.
  func open(
    _ target: SSHTunnelTarget, _ wanted: UInt16, _ continuation: CheckedContinuation<UInt16, any Error>
  ) {
    func refuse(_ code: Int32) {
      continuation.resume(
        throwing: session.failure("ssh.tunnel-failed", "cannot listen on 127.0.0.1: \(errorWords(code))"))
    }
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard file >= 0 else { return refuse(errno) }
    makePrivate(file)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    address.sin_port = wanted.bigEndian
    // Connections of a tunnel before this one may still be waiting for their end.
    var reuse: Int32 = 1
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { general in
        bind(file, general, length) == 0 && listen(file, 16) == 0 && getsockname(file, general, &length) == 0
      }
    }
    guard status else {
      let code = errno
      Glibc.close(file)
      return refuse(code)
    }
    let port = UInt16(bigEndian: address.sin_port)
    listeners.append(Listener(fileDescriptor: file, port: port, target: target))
    continuation.resume(returning: port)
  }

  /// Takes no more connections; those that are open go on.
  func close(_ port: UInt16) {
    for listener in listeners where listener.port == port { Glibc.close(listener.fileDescriptor) }
    listeners.removeAll { $0.port == port }
  }

  func closeAll(_ reason: ConvoyError) {
    for listener in listeners { Glibc.close(listener.fileDescriptor) }
    for connection in connections { connection.drop() }
    listeners = []
    connections = []
    opening = nil
  }

  /// True when something has moved.
  func advance(mayOpen: Bool) -> Bool {
    var moved = false
    for listener in listeners {
      let file = accept(listener.fileDescriptor, nil, nil)
      guard file >= 0 else { continue }
      makePrivate(file)
      connections.append(SSHTunnelConnection(file, listener.target))
      moved = true
    }
    if opening == nil && mayOpen { opening = connections.first { $0.channel == nil && !$0.isOver } }
    if let connection = opening, connection.openChannel(session.handle) {
      opening = nil
      moved = true
    }
    for connection in connections where connection.channel != nil {
      if connection.exchange(session.socket) { moved = true }
    }
    connections.removeAll { $0.isOver }
    return moved
  }
}

/// One connection through a tunnel.
final class SSHTunnelConnection {
  let fileDescriptor: Int32
  private let target: SSHTunnelTarget
  private(set) var channel: OpaquePointer?
  private(set) var isOver = false
  /// From the local peer, not yet taken by libssh2; and the other way.
  private var outward: ArraySlice<UInt8> = []
  private var inward: ArraySlice<UInt8> = []
  private var localEnded = false
  private var remoteEnded = false
  private var sentEOF = false
  private var sentShutdown = false
  private var closing = false

  init(_ fileDescriptor: Int32, _ target: SSHTunnelTarget) {
    self.fileDescriptor = fileDescriptor
    self.target = target
  }

  deinit {
    Glibc.close(fileDescriptor)
  }

  var pollEvents: Int16 {
    if channel == nil || closing { return 0 }
    return (outward.isEmpty && !localEnded ? Int16(POLLIN) : 0) | (inward.isEmpty ? 0 : Int16(POLLOUT))
  }

  /// True when the attempt is over; a refused channel ends the connection.
  func openChannel(_ session: OpaquePointer) -> Bool {
    channel = libssh2_channel_direct_tcpip_ex(session, target.host, Int32(target.port), "127.0.0.1", 0)
    if channel == nil {
      if libssh2_session_last_errno(session) == LIBSSH2_ERROR_EAGAIN { return false }
      isOver = true
    }
    return true
  }

  func exchange(_ socket: SSHSocket) -> Bool {
    guard let channel else { return false }
    if closing {
      guard libssh2_channel_free(channel) != LIBSSH2_ERROR_EAGAIN else { return false }
      self.channel = nil
      isOver = true
      return true
    }
    let sent = moveOutward(channel, socket)
    let received = moveInward(channel)
    if sentEOF && sentShutdown {
      closing = true
      return true
    }
    return sent || received
  }

  private func moveOutward(_ channel: OpaquePointer, _ socket: SSHSocket) -> Bool {
    var moved = false
    if outward.isEmpty && !localEnded {
      var buffer = [UInt8](repeating: 0, count: 64 << 10)
      let count = recv(fileDescriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count > 0 {
        outward = buffer[..<count]
        moved = true
      } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
        localEnded = true
        moved = true
      }
    }
    if !outward.isEmpty && socket.pendingCount < 512 << 10 {
      let count = outward.withUnsafeBytes { bytes in
        libssh2_channel_write_ex(
          channel, 0, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), min(bytes.count, 32_000))
      }
      if count > 0 {
        outward = outward.dropFirst(count)
        moved = true
      } else if count < 0 && count != Int(LIBSSH2_ERROR_EAGAIN) {
        outward = []
        localEnded = true
      }
    }
    if localEnded && outward.isEmpty && !sentEOF && libssh2_channel_send_eof(channel) != LIBSSH2_ERROR_EAGAIN {
      sentEOF = true
      moved = true
    }
    return moved
  }

  private func moveInward(_ channel: OpaquePointer) -> Bool {
    var moved = false
    if inward.isEmpty && !remoteEnded {
      var buffer = [CChar](repeating: 0, count: 64 << 10)
      let count = libssh2_channel_read_ex(channel, 0, &buffer, buffer.count)
      if count > 0 {
        inward = buffer[..<count].map { UInt8(bitPattern: $0) }[...]
        moved = true
      } else if libssh2_channel_eof(channel) == 1 {
        remoteEnded = true
        moved = true
      }
    }
    if !inward.isEmpty {
      let count = inward.withUnsafeBytes { bytes in
        send(fileDescriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        inward = inward.dropFirst(count)
        moved = true
      } else if errno != EAGAIN && errno != EINTR {
        // Nobody reads any more.
        inward = []
        remoteEnded = true
        localEnded = true
        outward = []
        moved = true
      }
    }
    if remoteEnded && inward.isEmpty && !sentShutdown {
      shutdown(fileDescriptor, Int32(SHUT_WR))
      sentShutdown = true
      moved = true
    }
    return moved
  }

  /// The session is gone.
  func drop() {
    if let channel { _ = libssh2_channel_free(channel) }
    channel = nil
    isOver = true
  }
}

private func makePrivate(_ file: Int32) {
  _ = fcntl(file, F_SETFD, FD_CLOEXEC)
  _ = fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_NONBLOCK)
}
