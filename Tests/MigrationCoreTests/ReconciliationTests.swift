import Inventory
import Journal
import ReplicationModel
import Testing

@testable import MigrationRecord

/// Who is right, where a journal and the servers' records differ.
struct ReconciliationTests {
  /// The standing behind tokens in this order: "abc" is epoch 3.
  private static func standing(_ tokens: String, isAhead: Bool = false) -> JournalStanding {
    var standing = tokens.reduce(JournalStanding()) { $0.next(token: String($1)) }
    standing.isAhead = isAhead
    return standing
  }

  private static func document(_ state: MigrationState = .handedOff, nonce: String? = "00000000aaaa")
    -> MigrationDocument
  {
    var document = MigrationDocument(source: "old", target: "new", state: state)
    document.nonce = nonce
    return document
  }

  private static func journal(
    _ tokens: String, isAhead: Bool = false, nonce: String? = "00000000aaaa"
  ) -> JournalView {
    JournalView(document: document(nonce: nonce), standing: standing(tokens, isAhead: isAhead))
  }

  private static func record(_ side: Side, _ tokens: String) -> ServerRecord {
    ServerRecord(side: side, timeline: side == .source ? 1 : 2, standing: standing(tokens), document: document())
  }

  private static func seen(_ source: String?, _ target: String?) -> [Side: Reconciliation.Seen] {
    func seen(_ side: Side, _ tokens: String?) -> Reconciliation.Seen {
      tokens.map { $0.isEmpty ? .nothing : .record(record(side, $0)) } ?? .unreachable
    }
    return [.source: seen(.source, source), .target: seen(.target, target)]
  }

  /// What the servers have, nil for one that is out of reach, and what is made of it.
  @Test(
    arguments: [
      ("", ""), ("", nil), (nil, ""), (nil, nil),
    ] as [(String?, String?)])
  func nothingIsKnownAnywhere(source: String?, target: String?) {
    #expect(Reconciliation(nil, Self.seen(source, target)) == .inStep)
  }

  @Test(
    arguments: [
      ("abc", "abc", Side.source), ("abc", "", .source), ("abc", nil, .source), (nil, "abc", .target),
      ("ab", "abc", .target),
      ("abc", "ab", .source),
    ] as [(String?, String?, Side)])
  func aJournalThatIsMissingOrBehindTakesOverTheNewest(source: String?, target: String?, from: Side) {
    let newest = Reconciliation.takeOver(Self.record(from, "abc"))
    #expect(Reconciliation(nil, Self.seen(source, target)) == newest)
    #expect(Reconciliation(Self.journal("ab"), Self.seen(source, target)) == newest)
    // Of the version before, which knew no record; and one that something was written into, in vain.
    #expect(Reconciliation(Self.journal("", isAhead: true), Self.seen(source, target)) == newest)
    #expect(Reconciliation(Self.journal("ab", isAhead: true), Self.seen(source, target)) == newest)
    // One whose migration was over.
    #expect(Reconciliation(Self.journal("xyzw", nonce: nil), Self.seen(source, target)) == newest)
  }

  @Test(arguments: [("abc", "abc"), ("abc", ""), ("abc", nil), (nil, "abc")] as [(String?, String?)])
  func whatIsInStepStaysSo(source: String?, target: String?) {
    #expect(Reconciliation(Self.journal("abc"), Self.seen(source, target)) == .inStep)
    #expect(Reconciliation(Self.journal("abc", isAhead: true), Self.seen(source, target)) == .publish)
  }

  @Test func aServerThatLagsIsToldAndOneThatCouldNotBeAskedIsWaitedFor() {
    #expect(Reconciliation(Self.journal("abc"), Self.seen("abc", "ab")) == .publish)
    #expect(Reconciliation(Self.journal("abc"), Self.seen("ab", "abc")) == .publish)
    #expect(Reconciliation(Self.journal("abc"), Self.seen("ab", nil)) == .publish)
  }

  @Test func aJournalOfTheVersionBeforeIsTakenOver() {
    #expect(Reconciliation(Self.journal("", isAhead: true), Self.seen("", "")) == .publish)
    #expect(Reconciliation(Self.journal("", isAhead: true), Self.seen("", nil)) == .publish)
  }

  @Test func contradictionsAreNotSettledBySilence() {
    #expect(
      Reconciliation(Self.journal("abc"), Self.seen("abx", "abc"))
        == .contradiction(.servers(Self.record(.source, "abx"), Self.record(.target, "abc"))))
    #expect(
      Reconciliation(nil, Self.seen("axyz", "abc"))
        == .contradiction(.servers(Self.record(.source, "axyz"), Self.record(.target, "abc"))))
    #expect(
      Reconciliation(Self.journal("abx"), Self.seen("abc", "abc"))
        == .contradiction(.journal(Self.record(.source, "abc"))))
    #expect(
      Reconciliation(Self.journal("abxyz"), Self.seen("abc", "abc"))
        == .contradiction(.journal(Self.record(.source, "abc"))))
    #expect(
      Reconciliation(Self.journal("abcd"), Self.seen("ab", "ab"))
        == .contradiction(.serversAreOlder(Self.record(.source, "ab"))))
    #expect(Reconciliation(Self.journal("abc"), Self.seen("", "")) == .contradiction(.serversKnowNothing))
    #expect(Reconciliation(Self.journal("abc"), Self.seen("", nil)) == .contradiction(.serversKnowNothing))
    // Nobody can tell.
    #expect(Reconciliation(Self.journal("abc"), Self.seen(nil, nil)) == .inStep)
    #expect(Reconciliation(Self.journal("abc"), Self.seen(nil, "")) == .inStep)
    // Finished here, and gone from there.
    #expect(Reconciliation(Self.journal("abc", nonce: nil), Self.seen("", "")) == .inStep)
  }

  /// The closed side is written first: who opens the other one has to get past it.
  @Test(arguments: [
    (MigrationState.handedOff, StreamDirection.forward, Side.target), (.fenced, .forward, .source),
    (.drained, .forward, .source), (.cutOver, .reverse, .source), (.fenced, .reverse, .target),
    (.drained, .reverse, .target), (.rolledBack, .forward, .target),
  ])
  func theClosedSideComesFirst(state: MigrationState, direction: StreamDirection, closed: Side) {
    var document = Self.document(state)
    document.direction = direction
    #expect(document.closedFirst == [closed, closed == .source ? .target : .source])
    #expect(document.isDecided(on: closed) == (state != .handedOff))
    #expect(!document.isDecided(on: closed == .source ? .target : .source))
  }
}
