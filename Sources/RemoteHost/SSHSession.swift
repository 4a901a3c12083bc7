internal import BlockingIO
internal import CLibSSH2
internal import Glibc
internal import ReplicationModel

/// `libssh2_init` is called once for the process. (`libssh2_exit` is not: at the end of the process a session's thread
/// may still be inside the library.)
private let libraryStatus = libssh2_init(0)

/// A libssh2 session on its socket, while it is being set up and after. Confined to one thread, which also ends it:
/// the handle is freed once, in `deinit`.
final class SSHSession {
  let handle: OpaquePointer
  let socket: SSHSocket
  let parameters: SSHParameters
  private let control: ConnectControl
  private var deadline: Deadline

  /// Connects and exchanges keys. The host key has been negotiated then, and not been looked at.
  ///
  /// - Parameter hostKeyTypes: the only ones that are asked for.
  init(
    _ parameters: SSHParameters, hostKeyTypes: [String], until deadline: Deadline, control: ConnectControl
  ) throws {
    self.parameters = parameters
    self.control = control
    self.deadline = deadline
    socket = try SSHSocket(parameters, until: deadline, control: control)
    guard libraryStatus == 0,
      let handle = libssh2_session_init_ex(nil, nil, nil, Unmanaged.passUnretained(socket).toOpaque())
    else {
      throw ConvoyError("ssh.protocol", "libssh2 could not be started", at: .host(parameters.name))
    }
    self.handle = handle
    libssh2_session_set_blocking(handle, 0)
    socket.attach(to: handle)
    libssh2_session_method_pref(handle, LIBSSH2_METHOD_HOSTKEY, hostKeyTypes.joined(separator: ","))
    libssh2_keepalive_config(handle, 0, UInt32(max(1, parameters.keepAliveInterval.components.seconds)))
  }

  deinit {
    socket.fail("closed")
    // Nothing can block any more: the socket refuses.
    for _ in 0..<1000 where libssh2_session_free(handle) != LIBSSH2_ERROR_EAGAIN { break }
  }

  /// Repeats a non-blocking call until it is done.
  ///
  /// - Throws: `ssh.timeout`, `CancellationError`.
  func complete(_ doing: String, _ call: (OpaquePointer) -> Int32) throws -> Int32 {
    while true {
      let status = call(handle)
      socket.flush()
      if status != LIBSSH2_ERROR_EAGAIN || socket.failure != nil { return status }
      if control.isCancelled { throw CancellationError() }
      if deadline.hasPassed {
        throw ConvoyError(
          "ssh.timeout", "\(parameters.host) port \(parameters.port) did not finish \(doing) in time",
          at: .host(parameters.name), hint: "is that port sshd's, and is the host overloaded?")
      }
      let events = Int16(POLLIN) | (socket.pendingCount > 0 ? Int16(POLLOUT) : 0)
      _ = BlockingIO.poll(
        [(socket.fileDescriptor, events), (control.wakeUp.fileDescriptor, Int16(POLLIN))], until: deadline)
    }
  }

  /// A person was asked meanwhile; that is not the server's time.
  func beginAnew() { deadline = .after(parameters.connectTimeout) }

  func handshake() throws -> Int32 {
    try complete("the key exchange") { libssh2_session_handshake($0, socket.fileDescriptor) }
  }

  /// The server's key, after the handshake.
  var hostKey: SSHPublicKey? {
    var length = 0
    var type: Int32 = 0
    guard let bytes = libssh2_session_hostkey(handle, &length, &type) else { return nil }
    return SSHPublicKey(blob: UnsafeRawBufferPointer(start: bytes, count: length).map { $0 })
  }

  /// What libssh2 says about the last error, and why the connection is gone if it is.
  var lastErrorWords: String {
    if let failure = socket.failure { return failure }
    var message: UnsafeMutablePointer<CChar>?
    libssh2_session_last_error(handle, &message, nil, 0)
    guard let message else { return "unknown error" }
    return String(cString: message)
  }

  func failure(_ code: ConvoyError.Code, _ message: String, hint: String? = nil, cause: String? = nil) -> ConvoyError {
    ConvoyError(code, message, at: .host(parameters.name), hint: hint, cause: cause)
  }
}
