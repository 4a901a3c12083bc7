internal import BlockingIO
internal import CLibSSH2
internal import Glibc
internal import ReplicationModel
internal import Synchronization

/// A connection attempt's other end: lets the caller's task give it up.
final class ConnectControl: Sendable {
  private let cancelled = Mutex(false)
  let wakeUp = WakeUp()

  var isCancelled: Bool { cancelled.withLock { $0 } }

  func cancel() {
    cancelled.withLock { $0 = true }
    wakeUp.signal()
  }
}

/// The TCP connection below a libssh2 session.
///
/// libssh2 reads from the socket through `receive`; what it sends is put into a buffer that takes everything, and
/// `flush` writes it when the socket has room. (A packet that libssh2 could send in part only would have to be finished
/// by the very call that began it, which no caller with several channels can promise.) Confined to the session's
/// thread.
final class SSHSocket {
  let fileDescriptor: Int32
  private var outgoing: [UInt8] = []
  private var outgoingHead = 0
  /// All bytes received so far.
  private(set) var receivedCount: UInt64 = 0
  /// What came first, kept until the key exchange is over: see `ServerOffer`.
  private(set) var firstReceived: [UInt8]? = []
  /// Set once; nothing is sent or received after it.
  private(set) var failure: String?

  /// - Throws: `ssh.unreachable`, `CancellationError`.
  init(_ parameters: SSHParameters, until deadline: Deadline, control: ConnectControl) throws {
    if let jump = parameters.jump {
      fileDescriptor = try jump.connection(toHost: parameters.host, port: parameters.port)
      return
    }
    fileDescriptor = try Self.connect(parameters, until: deadline, control: control)
    let on: Int32 = 1
    setOption(tcpLevel, TCP_NODELAY, on)
    // A peer that has vanished is noticed within about 45 seconds, whether we are sending or not.
    setOption(SOL_SOCKET, SO_KEEPALIVE, on)
    setOption(tcpLevel, TCP_KEEPIDLE, 15)
    setOption(tcpLevel, TCP_KEEPINTVL, 5)
    setOption(tcpLevel, TCP_KEEPCNT, 6)
    setOption(tcpLevel, TCP_USER_TIMEOUT, 45_000)
  }

  deinit {
    close(fileDescriptor)
  }

  private func setOption(_ level: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    setsockopt(fileDescriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  /// Bytes that libssh2 has sent and the kernel hasn't taken.
  var pendingCount: Int { outgoing.count - outgoingHead }

  func stopRecording() {
    firstReceived = nil
  }

  func fail(_ words: String) {
    if failure == nil { failure = words }
  }

  func flush() {
    while failure == nil && outgoingHead < outgoing.count {
      let count = outgoing.withUnsafeBytes { bytes in
        Glibc.send(
          fileDescriptor, bytes.baseAddress.map { $0 + outgoingHead }, bytes.count - outgoingHead,
          Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      }
      if count > 0 {
        outgoingHead += count
      } else if errno == EAGAIN || errno == EWOULDBLOCK {
        break
      } else if errno != EINTR {
        fail(errorWords(errno))
      }
    }
    if outgoingHead == outgoing.count {
      outgoing.removeAll(keepingCapacity: true)
      outgoingHead = 0
    } else if outgoingHead > 1 << 20 {
      outgoing.removeFirst(outgoingHead)
      outgoingHead = 0
    }
  }

  fileprivate func take(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard failure == nil else { return -Int(EPIPE) }
    outgoing.append(contentsOf: bytes)
    return bytes.count
  }

  fileprivate func give(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard failure == nil else { return -Int(ECONNRESET) }
    while true {
      let count = recv(fileDescriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
      if count > 0 {
        receivedCount += UInt64(count)
        if let recorded = firstReceived, recorded.count < 16 << 10 {
          firstReceived?.append(contentsOf: buffer[..<count])
        }
        return count
      }
      if count == 0 {
        fail("the server closed the connection")
        return 0
      }
      let code = errno
      if code == EINTR { continue }
      if code == EAGAIN || code == EWOULDBLOCK { return -Int(EAGAIN) }
      fail(errorWords(code))
      return -Int(code)
    }
  }

  /// Makes a session use this socket. The session must not outlive it.
  func attach(to session: OpaquePointer) {
    // libssh2 calls these for the agent's socket, too, which is a blocking one.
    convoy_ssh_set_transport(
      session,
      { socket, buffer, length, flags, abstract in
        guard let buffer, let abstract, let pointer = abstract.pointee else { return -Int(EBADF) }
        let own = Unmanaged<SSHSocket>.fromOpaque(pointer).takeUnretainedValue()
        if socket == own.fileDescriptor { return own.take(UnsafeRawBufferPointer(start: buffer, count: length)) }
        let count = Glibc.send(socket, buffer, length, flags | Int32(MSG_NOSIGNAL))
        return count < 0 ? -Int(errno) : count
      },
      { socket, buffer, length, flags, abstract in
        guard let buffer, let abstract, let pointer = abstract.pointee else { return -Int(EBADF) }
        let own = Unmanaged<SSHSocket>.fromOpaque(pointer).takeUnretainedValue()
        if socket == own.fileDescriptor { return own.give(UnsafeMutableRawBufferPointer(start: buffer, count: length)) }
        let count = recv(socket, buffer, length, flags)
        return count < 0 ? -Int(errno) : count
      })
  }

  // MARK: connecting

  private static func connect(
    _ parameters: SSHParameters, until deadline: Deadline, control: ConnectControl
  ) throws -> Int32 {
    let place = ConvoyError.Place.host(parameters.name)
    let target = "\(parameters.host) port \(parameters.port)"
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_ADDRCONFIG
    var list: UnsafeMutablePointer<addrinfo>?
    var code = getaddrinfo(parameters.host, String(parameters.port), &hints, &list)
    if code == EAI_NONAME || code == noAddressOfThatFamily {
      // On a machine without a configured interface, AI_ADDRCONFIG hides even loopback addresses.
      hints.ai_flags = 0
      code = getaddrinfo(parameters.host, String(parameters.port), &hints, &list)
    }
    guard code == 0, let list else {
      throw ConvoyError(
        "ssh.unreachable",
        "the name \(parameters.host) cannot be resolved: \(String(cString: gai_strerror(code)).lowercased())",
        at: place, hint: "correct the host's address in the inventory, or the name service")
    }
    defer { freeaddrinfo(list) }
    var failure = ConvoyError("ssh.unreachable", "\(target) has no address", at: place)
    var next: UnsafeMutablePointer<addrinfo>? = list
    while let candidate = next {
      next = candidate.pointee.ai_next
      let file = socket(
        candidate.pointee.ai_family,
        candidate.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue),
        candidate.pointee.ai_protocol)
      guard file >= 0 else { continue }
      var status = Glibc.connect(file, candidate.pointee.ai_addr, candidate.pointee.ai_addrlen) == 0 ? 0 : errno
      while status == EINPROGRESS {
        let ready = BlockingIO.poll(
          [(file, Int16(POLLOUT)), (control.wakeUp.fileDescriptor, Int16(POLLIN))], until: deadline)
        if control.isCancelled {
          close(file)
          throw CancellationError()
        }
        if ready[0] != 0 {
          var length = socklen_t(MemoryLayout<Int32>.size)
          getsockopt(file, SOL_SOCKET, SO_ERROR, &status, &length)
        } else if deadline.hasPassed {
          status = ETIMEDOUT
        }
      }
      if status == 0 { return file }
      close(file)
      failure = unreachable(status, target, place)
    }
    throw failure
  }

  private static func unreachable(_ code: Int32, _ target: String, _ place: ConvoyError.Place) -> ConvoyError {
    switch code {
    case ECONNREFUSED:
      ConvoyError(
        "ssh.unreachable", "\(target) refused the connection", at: place,
        hint: "is sshd running there, and is this its port?")
    case ETIMEDOUT:
      ConvoyError(
        "ssh.unreachable", "\(target) did not answer in time", at: place,
        hint: "is the host up, and does a firewall drop connections to it?")
    case EHOSTUNREACH, ENETUNREACH:
      ConvoyError(
        "ssh.unreachable", "there is no route to \(target)", at: place,
        hint: "is the host up, and this machine in the right network?")
    default:
      ConvoyError("ssh.unreachable", "cannot connect to \(target): \(errorWords(code))", at: place)
    }
  }
}

private let tcpLevel = Int32(IPPROTO_TCP)
/// GNU extensions of netdb.h that Swift's Glibc module may leave out.
private let noAddressOfThatFamily: Int32 = -9
