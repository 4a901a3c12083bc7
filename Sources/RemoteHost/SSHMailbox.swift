internal import BlockingIO
internal import Glibc
internal import ReplicationModel
internal import Synchronization

/// What callers ask of a session's thread.
enum SSHRequest: Sendable {
  case run(UInt64, PreparedCommand, CheckedContinuation<CommandResult, any Error>)
  case cancel(UInt64)
  /// A port of one's own choice, or 0.
  case openTunnel(SSHTunnelTarget, UInt16, CheckedContinuation<UInt16, any Error>)
  /// A socket that leads to the target from now on; the session's thread owns it.
  case connect(SSHTunnelTarget, Int32)
  case closeTunnel(UInt16)
  case close(CheckedContinuation<Void, Never>?)
}

/// The only way from other threads to a session's thread. Once the session has ended, every request is answered with
/// the reason.
final class SSHMailbox: Sendable {
  private struct State {
    var requests: [SSHRequest] = []
    var ended: ConvoyError?
    var lastIdentifier: UInt64 = 0
  }

  private let state = Mutex(State())
  let wakeUp = WakeUp()

  func nextIdentifier() -> UInt64 {
    state.withLock { state in
      state.lastIdentifier += 1
      return state.lastIdentifier
    }
  }

  func post(_ request: SSHRequest) {
    let ended = state.withLock { state -> ConvoyError? in
      if state.ended == nil { state.requests.append(request) }
      return state.ended
    }
    if let ended { Self.refuse(request, ended) } else { wakeUp.signal() }
  }

  func take() -> [SSHRequest] {
    wakeUp.drain()
    return state.withLock { state in
      defer { state.requests = [] }
      return state.requests
    }
  }

  var hasEnded: Bool { state.withLock { $0.ended != nil } }

  /// Nothing is taken any more; what is waiting is refused.
  func end(_ reason: ConvoyError) {
    let waiting = state.withLock { state in
      state.ended = reason
      defer { state.requests = [] }
      return state.requests
    }
    for request in waiting { Self.refuse(request, reason) }
  }

  private static func refuse(_ request: SSHRequest, _ reason: ConvoyError) {
    switch request {
    case .run(_, _, let continuation): continuation.resume(throwing: reason)
    case .openTunnel(_, _, let continuation): continuation.resume(throwing: reason)
    case .connect(_, let file): Glibc.close(file)
    case .close(let continuation): continuation?.resume()
    case .cancel, .closeTunnel: break
    }
  }
}
