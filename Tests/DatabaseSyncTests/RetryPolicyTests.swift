import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel
import ReplicationStream
import Testing

@testable import DatabaseSync

/// What a worker does after which failure.
@Suite struct RetryPolicyTests {
  /// One failure of a worker that has had none before.
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var failure: AttemptFailure
    var isStopRequested: Bool
    var orders: Set<LSN>
    var expected: RetryDecision
    var testDescription: String { name }

    init(
      _ name: String, _ failure: AttemptFailure, stopping isStopRequested: Bool = false, orders: Set<LSN> = [],
      _ expected: RetryDecision
    ) {
      self.name = name
      self.failure = failure
      self.isStopRequested = isStopRequested
      self.orders = orders
      self.expected = expected
    }
  }

  static let place = LSN(0x1A)
  static let end = LSN(0x2F)
  private static let first = Duration.milliseconds(100)

  static func postgres(_ reason: PostgresError.Reason, _ state: SQLState? = nil) -> PostgresError {
    PostgresError(reason, sqlState: state, message: "words", server: "new:5432/shop")
  }

  /// A change at `place` that the target did not take.
  static var noPassword: PostgresError {
    var error = postgres(.connect)
    error.wantsPassword = true
    return error
  }
  static func change(_ reason: ApplyFailure.Reason) -> ApplyFailure {
    var failure = ApplyFailure(reason, "words")
    failure.lsn = place
    failure.xid = 743
    return failure
  }

  static func refusal(_ state: SQLState) -> ApplyFailure { change(.postgres(postgres(.server, state))) }

  static func statement() -> ApplyFailure {
    var failure = change(.refused)
    failure.isStatement = true
    return failure
  }

  static func inBatch(_ failure: ApplyFailure) -> AttemptFailure { .apply(failure, replayEnd: end) }

  static let stepping = SteppedOver(xid: 743, lsn: place)

  // MARK: one failure

  /// Nothing but a person changes these.
  static let rules = [
    Row("SlotMissing", .rule(ConvoyError("sync.slot-missing", "gone")), .park(at: nil)),
    Row("SlotOfAnotherPlugin", .rule(ConvoyError("sync.slot-plugin", "wal2json")), .park(at: nil)),
    Row("RuleWhileStopping", .rule(ConvoyError("sync.slot-ahead", "x")), stopping: true, .park(at: nil)),
    Row("RuleAndOrders", .rule(ConvoyError("sync.slot-ahead", "x")), orders: [place], .park(at: nil)),
    Row("Unknown", .other("something"), .park(at: nil)),
  ]

  static let servers = [
    Row("CannotConnect", .server(postgres(.connect)), .retry(after: first)),
    Row("Starting", .server(postgres(.connect, .cannotConnectNow)), .retry(after: first)),
    Row("WrongPassword", .server(postgres(.connect, .invalidPassword)), .park(at: nil)),
    Row("NoPassword", .server(noPassword), .park(at: nil)),
    Row("NoConnectionLeft", .server(postgres(.connect, .tooManyConnections)), .retry(after: first)),
    Row("ConnectionLost", .server(postgres(.connectionLost)), .retry(after: first)),
    Row("ConnectionLostWhileStopping", .server(postgres(.connectionLost)), stopping: true, .retry(after: first)),
    Row("Deadline", .server(postgres(.deadline)), .retry(after: first)),
    Row("Cancelled", .server(postgres(.cancelled)), .park(at: nil)),
    Row("CancelledWhileStopping", .server(postgres(.cancelled)), stopping: true, .stop),
    Row("OriginHeld", .server(postgres(.server, .objectInUse)), .retry(after: first)),
    // The rules have been looked at and found nothing.
    Row("OriginGone", .server(postgres(.server, .undefinedObject)), .park(at: nil)),
    Row("UnexpectedReply", .server(postgres(.unexpectedReply)), .park(at: nil)),
  ]

  static let streams = [
    Row("WalsenderEnded", .stream(.postgres(postgres(.connectionLost))), .retry(after: first)),
    Row("SourceShutsDown", .stream(.postgres(postgres(.server, .adminShutdown))), .retry(after: first)),
    Row("SlotGoneMeanwhile", .stream(.postgres(postgres(.server, .undefinedObject))), .park(at: nil)),
    // The receiving thread is not cancelled by a stop.
    Row("StreamCancelledWhileStopping", .stream(.postgres(postgres(.cancelled))), stopping: true, .park(at: nil)),
    Row("PullGivenUp", .stream(.pullGivenUp("slow")), .retryWithoutPulls),
    Row("Malformed", .stream(.malformed(MalformedStreamMessage("empty"))), .secondLook),
    Row("MalformedAndOrders", .stream(.malformed(MalformedStreamMessage("x"))), orders: [place], .secondLook),
  ]

  static let changes = [
    Row("TargetGone", .apply(change(.postgres(postgres(.connectionLost)))), .retry(after: first)),
    Row("Serialization", .apply(refusal("40001")), .retry(after: first)),
    Row("Deadlock", .apply(refusal(.deadlockDetected)), .retry(after: first)),
    Row("LockNotAvailable", .apply(refusal(.lockNotAvailable)), .retry(after: first)),
    Row("TransientAndOrdered", .apply(refusal(.adminShutdown)), orders: [place], .retry(after: first)),
    Row("Cancelled", .apply(change(.postgres(postgres(.cancelled)))), .secondLook),
    Row("CancelledWhileStopping", .apply(change(.postgres(postgres(.cancelled)))), stopping: true, .stop),
    // By an operator, not by us.
    Row("QueryCanceledWhileStopping", .apply(refusal(.queryCanceled)), stopping: true, .retry(after: first)),
    Row("DuplicateKey", .apply(refusal("23505")), .secondLook),
    Row("DuplicateKeyWhileStopping", .apply(refusal("23505")), stopping: true, .secondLook),
    Row("Drift", .apply(change(.drift)), .secondLook),
    Row("NoIdentity", .apply(change(.noIdentity)), .secondLook),
    Row("Unreadable", .apply(change(.unreadable)), .secondLook),
    Row("Absent", .apply(change(.absent)), .lookAgain(after: .milliseconds(250))),
    Row("AbsentAndOrdered", .apply(change(.absent)), orders: [place], .stepOver(stepping)),
    Row("Ordered", .apply(change(.drift)), orders: [place, end], .stepOver(stepping)),
    Row("OrderedElsewhere", .apply(change(.drift)), orders: [end], .secondLook),
    Row("Statement", .apply(statement()), .secondLook),
    Row("StatementOrdered", .apply(statement()), orders: [place], .leaveStatementOut(place)),
    Row("StatementOrderedElsewhere", .apply(statement()), orders: [end], .secondLook),
  ]

  static let batches = [
    Row("DuplicateKey", inBatch(refusal("23505")), .replayStrictly(until: end)),
    Row("Mismatch", inBatch(change(.batchMismatch)), .replayStrictly(until: end)),
    Row("Drift", inBatch(change(.drift)), .replayStrictly(until: end)),
    Row("Statement", inBatch(statement()), .replayStrictly(until: end)),
    Row("Deadlock", inBatch(refusal(.deadlockDetected)), .replayStrictly(until: end)),
    Row("Serialization", inBatch(refusal("40001")), .retry(after: first)),
    Row("TargetGone", inBatch(change(.postgres(postgres(.connectionLost)))), .retry(after: first)),
    Row("Ordered", inBatch(change(.drift)), orders: [place], .replayStrictly(until: end)),
    // The loop ends all the same.
    Row(
      "CancelledWhileStopping", inBatch(change(.postgres(postgres(.cancelled)))), stopping: true,
      .replayStrictly(until: end)),
  ]

  @Test("outside the stream", arguments: rules + servers)
  func outside(_ row: Row) { expect(row) }

  @Test("in the stream, change by change", arguments: streams + changes)
  func inTheStream(_ row: Row) { expect(row) }

  @Test("in a batch", arguments: batches)
  func inABatch(_ row: Row) { expect(row) }

  private func expect(_ row: Row) {
    var policy = RetryPolicy()
    let decision = policy.decide(after: row.failure, isStopRequested: row.isStopRequested, orders: row.orders)
    #expect(decision == row.expected)
  }

  // MARK: one failure after the other

  private func decide(
    _ policy: inout RetryPolicy, _ failure: AttemptFailure, orders: Set<LSN> = []
  ) -> RetryDecision {
    policy.decide(after: failure, isStopRequested: false, orders: orders)
  }

  @Test func pausesDoubleToTenSecondsAndProgressMakesThemShort() {
    var policy = RetryPolicy()
    let lost = AttemptFailure.server(Self.postgres(.connectionLost))
    let pauses = (0..<9).map { _ in decide(&policy, lost) }
    let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
    #expect(pauses == expected.map { .retry(after: .milliseconds($0)) })
    // To stream is no progress yet.
    policy.noteStart()
    #expect(decide(&policy, lost) == .retry(after: .seconds(10)))
    policy.noteProgress()
    #expect(decide(&policy, lost) == .retry(after: .milliseconds(100)))
    #expect(decide(&policy, lost) == .retry(after: .milliseconds(200)))
  }

  /// What is done at once takes no part in it.
  @Test func otherFailuresLeaveThePausesAsTheyAre() {
    var policy = RetryPolicy()
    let lost = AttemptFailure.server(Self.postgres(.connectionLost))
    #expect(decide(&policy, lost) == .retry(after: .milliseconds(100)))
    _ = decide(&policy, .stream(.pullGivenUp("slow")))
    _ = decide(&policy, Self.inBatch(Self.refusal("23505")))
    _ = decide(&policy, .apply(Self.change(.drift)))
    _ = decide(&policy, .rule(ConvoyError("sync.slot-missing", "gone")))
    #expect(decide(&policy, lost) == .retry(after: .milliseconds(200)))
  }

  @Test func aPlaceIsLookedAtOnceMore() {
    var policy = RetryPolicy()
    let drift = AttemptFailure.apply(Self.change(.drift))
    #expect(decide(&policy, drift) == .secondLook)
    #expect(decide(&policy, drift) == .park(at: Self.place))
    #expect(decide(&policy, drift) == .park(at: Self.place))
    // What is retried meanwhile makes no new place of it.
    _ = decide(&policy, .server(Self.postgres(.connectionLost)))
    #expect(decide(&policy, .apply(Self.statement())) == .park(at: Self.place))
    var other = Self.change(.drift)
    other.lsn = Self.end
    #expect(decide(&policy, .apply(other)) == .secondLook)
    #expect(decide(&policy, .apply(other)) == .park(at: Self.end))
  }

  @Test func aFailureWithoutAPlaceIsLookedAtOnceMore() {
    var policy = RetryPolicy()
    let malformed = AttemptFailure.stream(.malformed(MalformedStreamMessage("empty")))
    #expect(decide(&policy, malformed) == .secondLook)
    #expect(decide(&policy, malformed) == .park(at: nil))
  }

  /// A rule is no place.
  @Test func aBrokenRuleDoesNotUseUpTheSecondLook() {
    var policy = RetryPolicy()
    #expect(decide(&policy, .rule(ConvoyError("sync.slot-missing", "gone"))) == .park(at: nil))
    #expect(decide(&policy, .stream(.malformed(MalformedStreamMessage("empty")))) == .secondLook)
  }

  @Test func aTransactionIsSteppedOverOnce() {
    var policy = RetryPolicy()
    let drift = AttemptFailure.apply(Self.change(.drift))
    #expect(policy.steppingOver == nil)
    #expect(decide(&policy, drift, orders: [Self.place]) == .stepOver(Self.stepping))
    #expect(policy.steppingOver == Self.stepping)
    // It lasts through what may pass.
    _ = decide(&policy, .server(Self.postgres(.connectionLost)), orders: [Self.place])
    _ = decide(&policy, .stream(.pullGivenUp("slow")), orders: [Self.place])
    _ = decide(&policy, Self.inBatch(Self.refusal("23505")), orders: [Self.place])
    #expect(policy.steppingOver == Self.stepping)
    // It did not help, and would not the next time.
    #expect(decide(&policy, drift, orders: [Self.place]) == .secondLook)
    #expect(policy.steppingOver == nil)
    // The order stands: it is tried again with fresh eyes, and as often as the worker looks whether someone has mended it.
    #expect(decide(&policy, drift, orders: [Self.place]) == .stepOver(Self.stepping))
    #expect(decide(&policy, drift, orders: [Self.place]) == .park(at: Self.place))
  }

  @Test func whatIsSteppedOverIsForgotten() {
    var policy = RetryPolicy()
    let drift = AttemptFailure.apply(Self.change(.drift))
    _ = decide(&policy, drift, orders: [Self.place])
    policy.noteSteppedOver()
    #expect(policy.steppingOver == nil)
    #expect(decide(&policy, drift, orders: [Self.place]) == .stepOver(Self.stepping))
    _ = decide(&policy, .rule(ConvoyError("sync.slot-missing", "gone")))
    #expect(policy.steppingOver == nil)
    _ = decide(&policy, drift, orders: [Self.place])
    #expect(decide(&policy, .apply(Self.statement()), orders: [Self.place]) == .leaveStatementOut(Self.place))
    #expect(policy.steppingOver == nil)
  }

  /// A failure without its transaction (of a COMMIT of nothing, say) can't be stepped over.
  @Test func withoutATransactionNothingIsSteppedOver() {
    var policy = RetryPolicy()
    var failure = Self.change(.drift)
    failure.xid = nil
    #expect(decide(&policy, .apply(failure), orders: [Self.place]) == .secondLook)
    #expect(decide(&policy, .apply(failure), orders: [Self.place]) == .park(at: Self.place))
  }

  @Test func whatAnAttemptDoesWithoutLastsUntilItStreams() {
    var policy = RetryPolicy()
    #expect(policy.options == AttemptOptions(strictUntil: .invalid, pulls: true, secondSession: true))
    _ = decide(&policy, .stream(.pullGivenUp("slow")))
    #expect(policy.options == AttemptOptions(strictUntil: .invalid, pulls: false, secondSession: true))
    _ = decide(&policy, .server(Self.postgres(.connectionLost)))
    _ = decide(&policy, Self.inBatch(Self.refusal("23505")))
    #expect(policy.options == AttemptOptions(strictUntil: Self.end, pulls: false, secondSession: false))
    policy.noteStart()
    // What is before the end stays strict, however often it begins.
    #expect(policy.options == AttemptOptions(strictUntil: Self.end, pulls: true, secondSession: true))
    _ = decide(&policy, .apply(Self.change(.absent)))
    #expect(policy.options == AttemptOptions(strictUntil: Self.end, oneByOne: true))
    policy.noteStart()
    #expect(policy.options == AttemptOptions(strictUntil: Self.end))
  }

  /// What the target lacks may be gone on the source in a moment; then somebody is needed.
  @Test func anAbsentTableIsWaitedFor() {
    var policy = RetryPolicy()
    for _ in 0..<20 {
      #expect(decide(&policy, .apply(Self.change(.absent))) == .lookAgain(after: .milliseconds(250)))
      policy.noteStart()
    }
    #expect(decide(&policy, .apply(Self.change(.absent))) == .secondLook)
    for _ in 0..<3 { #expect(decide(&policy, .apply(Self.change(.absent))) == .park(at: Self.place)) }
    var elsewhere = Self.change(.absent)
    elsewhere.lsn = Self.end
    #expect(decide(&policy, .apply(elsewhere)) == .lookAgain(after: .milliseconds(250)))
  }

  @Test func rulesExplainAnOriginThatIsGone() {
    #expect(RetryPolicy.isExplainedByRules(Self.postgres(.server, .undefinedObject)))
    #expect(!RetryPolicy.isExplainedByRules(Self.postgres(.server, .objectInUse)))
    #expect(!RetryPolicy.isExplainedByRules(Self.postgres(.connectionLost)))
  }

  // MARK: words

  /// As PostgreSQL 15 says it of a row of 1.2 GB.
  @Test(arguments: [
    "slot \"pgconvoy_a1\", output plugin \"test_decoding\", in the change callback, associated LSN 0/1A2B3C",
    "Slot »s«, Ausgabe-Plugin »pgoutput«, im Callback change, zugehörige LSN 0/1A2B3C",
  ])
  func aRecordThatTheServerCannotPrintHasItsPlace(context: String) {
    var error = Self.postgres(.server, "XX000")
    error.context = context
    #expect(error.decodingPlace == LSN("0/1A2B3C"))
    let words = "\(AttemptFailure.stream(.postgres(error)))"
    #expect(words.contains("lsn 0/1A2B3C: words") && words.contains("limits.md"))
    error.context = "SQL function \"f\" statement 1"
    #expect(error.decodingPlace == nil)
  }

  @Test func whatAPersonReads() {
    let refused = Self.postgres(.server, "23505")
    let failures: [(any Error, String)] = [
      (ConvoyError("sync.slot-missing", "gone"), ConvoyError("sync.slot-missing", "gone").description),
      (refused, "new:5432/shop: words (SQLSTATE 23505)"),
      (StreamFailure.postgres(refused), "new:5432/shop: words (SQLSTATE 23505)"),
      (StreamFailure.pullGivenUp("slow"), "slow"),
      (
        StreamFailure.malformed(MalformedStreamMessage("empty")),
        "the source sent a message outside the protocol: empty"
      ),
      (Self.change(.drift), "xid 743, lsn 0/1A: words"),
      (Self.inBatch(Self.change(.drift)), "xid 743, lsn 0/1A: words"),
      (CancellationError(), "CancellationError()"),
    ]
    for (error, words) in failures { #expect(AttemptFailure(error).description == words) }
  }
}
