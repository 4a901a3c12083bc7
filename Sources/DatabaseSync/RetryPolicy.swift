import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel
import ReplicationStream

/// Why an attempt to stream has ended though nobody asked for it.
enum AttemptFailure: Error {
  /// A rule of the start forbids to stream at all.
  case rule(ConvoyError)
  /// A change, a statement or a COMMIT could not be carried out.
  ///
  /// `replayEnd` is there where the group in hand goes in by set-based statements: how far what it held has to be replayed
  /// strictly.
  case apply(ApplyFailure, replayEnd: LSN? = nil)
  /// A connection was not to be had, or a server did not answer what is asked before the stream.
  case server(PostgresError)
  case stream(StreamFailure)
  case other(String)

  init(_ error: any Error) {
    switch error {
    case let error as AttemptFailure: self = error
    case let error as ConvoyError: self = .rule(error)
    case let error as ApplyFailure: self = .apply(error)
    case let error as PostgresError: self = .server(error)
    case let error as StreamFailure: self = .stream(error)
    default: self = .other("\(error)")
    }
  }
}

extension AttemptFailure: CustomStringConvertible {
  /// As a person reads it, in the log and in `status`.
  var description: String {
    switch self {
    case .rule(let error): error.description
    case .apply(let error, _): "\(error)"
    case .server(let error): "\(error.server): \(error)"
    case .stream(.postgres(let error)):
      if !error.isTransient, let place = error.decodingPlace {
        "\(error.server): lsn \(place): \(error); the server cannot print this record, so that 'pgconvoy skip' cannot read past "
          + "it; docs/explanation/limits.md says how to go past its transaction by hand"
      } else {
        "\(error.server): \(error)"
      }
    case .stream(.pullGivenUp(let message)): message
    case .stream(.malformed(let error)): "the source sent a message outside the protocol: \(error.reason)"
    case .other(let message): message
    }
  }
}

extension AttemptFailure {
  /// Whether a server does not answer, or has ended the connection.
  var isUnreachable: Bool {
    let error: PostgresError? =
      switch self {
      case .server(let error), .stream(.postgres(let error)): error
      case .apply(let failure, _): if case .postgres(let error) = failure.reason { error } else { nil }
      default: nil
      }
    return error?.isUnreachable ?? false
  }
}

/// What a worker does about a failure, before its next attempt.
enum RetryDecision: Equatable {
  /// The failure is what its stop came to.
  case stop
  case retry(after: Duration)
  /// At once, and a walsender reads the backlog, which waits for a target as long as it takes.
  case retryWithoutPulls
  /// At once, up to here change by change: then it either goes through or names the change.
  case replayStrictly(until: LSN)
  /// At once, without a transaction, as ordered.
  case stepOver(SteppedOver)
  /// At once, without the statement at this place, as ordered. Only the statement is left out.
  case leaveStatementOut(LSN)
  /// At once, with fresh eyes: the catalogs may have changed on both sides in good order.
  case secondLook
  /// Once more in a moment: the source may be about to do away with what the target lacks.
  case lookAgain(after: Duration)
  /// A person is needed. The place is that of what could not be applied, if it has one.
  case park(at: LSN?)
}

/// How one attempt goes about it.
struct AttemptOptions: Equatable {
  /// Up to here change by change.
  var strictUntil = LSN.invalid
  /// Whether a backlog may be read by SQL.
  var pulls = true
  /// Whether batches may go to a second session too.
  var secondSession = true
  /// Whether each transaction is committed by itself: a person who mends the target table by table needs it to stand just
  /// before the transaction that fails.
  var oneByOne = false
}

/// What a worker does after which failure: pure, with what it has to remember of attempts before.
struct RetryPolicy {
  /// How the next attempt goes about it.
  private(set) var options = AttemptOptions()
  /// The transaction that the next attempt is to step over.
  private(set) var steppingOver: SteppedOver?
  private var backOff = BackOff()
  private var secondLook = SecondLook()
  private var waiting = Waiting()

  /// An attempt streams: what it had to do without is not left out of the next one.
  mutating func noteStart() {
    options.pulls = true
    options.secondSession = true
    options.oneByOne = false
  }

  /// Something has been applied: the next pause is a short one again.
  mutating func noteProgress() { backOff.reset() }

  /// Progress is past the transaction that was to be stepped over.
  mutating func noteSteppedOver() { steppingOver = nil }

  /// Whether the start's rules say what a failure to open the target's session means: the origin is gone, and another
  /// rule may be broken before that one.
  static func isExplainedByRules(_ error: PostgresError) -> Bool { error.sqlState == .undefinedObject }

  /// - Parameters:
  ///   - isStopRequested: whether the worker has been asked to stop.
  ///   - orders: the places at which something is to be left out.
  mutating func decide(
    after failure: AttemptFailure, isStopRequested: Bool, orders: Set<LSN>
  ) -> RetryDecision {
    switch failure {
    case .apply(let error, let replayEnd?) where error.isReplayed:
      // A batch's failure names no change: the same changes once more, one at a time. In batches it would get into the same
      // deadlock again.
      options.strictUntil = replayEnd
      // It may have failed for what was beside it, and would again.
      options.secondSession = false
      return .replayStrictly(until: replayEnd)
    case .apply(let error, _):
      if case .postgres(let cause) = error.reason, cause.reason == .cancelled, isStopRequested { return .stop }
      if error.isTransient { return .retry(after: backOff.next()) }
      options.oneByOne = error.reason == .absent
      if error.isStatement { return decide(aboutStatementAt: error.lsn, orders) }
      if error.reason == .absent, error.lsn.map(orders.contains) != true, waiting.goesOn(at: error.lsn) {
        return .lookAgain(after: Waiting.pause)
      }
      return decide(aboutChangeAt: error.lsn, xid: error.xid, orders)
    case .server(let error):
      if error.reason == .cancelled && isStopRequested { return .stop }
      return error.isTransient ? .retry(after: backOff.next()) : park()
    case .stream(.postgres(let error)):
      return error.isTransient ? .retry(after: backOff.next()) : park()
    case .stream(.pullGivenUp):
      // The same transaction would be given up again and again.
      options.pulls = false
      return .retryWithoutPulls
    case .stream(.malformed): return decide(aboutChangeAt: nil, xid: nil, orders)
    case .rule, .other: return park()
    }
  }

  private mutating func decide(
    aboutChangeAt place: LSN?, xid: UInt32?, _ orders: Set<LSN>
  ) -> RetryDecision {
    if let place, let xid, orders.contains(place), steppingOver?.lsn != place {
      let order = SteppedOver(xid: xid, lsn: place)
      steppingOver = order
      return .stepOver(order)
    }
    return lookAgainOrPark(at: place)
  }

  private mutating func decide(aboutStatementAt place: LSN?, _ orders: Set<LSN>) -> RetryDecision {
    if let place, orders.contains(place) {
      steppingOver = nil
      return .leaveStatementOut(place)
    }
    return lookAgainOrPark(at: place)
  }

  private mutating func lookAgainOrPark(at place: LSN?) -> RetryDecision {
    steppingOver = nil
    return secondLook.isDue(after: place) ? .secondLook : .park(at: place)
  }

  private mutating func park() -> RetryDecision {
    steppingOver = nil
    return .park(at: nil)
  }
}

extension PostgresError {
  /// The record that an output plugin was at when it failed, which the server says at the end of the context, in whichever
  /// language: `slot "s", output plugin "pgoutput", in the change callback, associated LSN 0/1A2B3C`.
  var decodingPlace: LSN? {
    context?.matches(of: #/\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b/#).last.flatMap { LSN(String($0.output)) }
  }
}

/// Pauses between attempts: 100 ms, doubling to 10 s.
struct BackOff {
  private var attempts = 0

  mutating func next() -> Duration {
    defer { attempts += 1 }
    return min(.milliseconds(100 << min(attempts, 7)), .seconds(10))
  }

  mutating func reset() { attempts = 0 }
}

/// How long a relation that the target lacks may live on the source before the database is parked: 5 s, at each place in
/// the stream.
struct Waiting {
  static let pause = Duration.milliseconds(250)
  private static let most = 20
  private var place: LSN?
  private var times = 0

  mutating func goesOn(at place: LSN?) -> Bool {
    if place != self.place { (self.place, times) = (place, 0) }
    times += 1
    return times <= Self.most
  }
}

/// Whether a failure is worth a second look with fresh eyes before the database is parked: the catalogs may have
/// changed on both sides in good order. Once for each place in the stream, and once for a failure without a place.
struct SecondLook {
  private var failed: LSN??

  mutating func isDue(after place: LSN?) -> Bool {
    if case .some(place) = failed { return false }
    failed = .some(place)
    return true
  }
}
