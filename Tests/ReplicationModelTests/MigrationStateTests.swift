import ReplicationModel
import Testing

@Suite struct MigrationStates {
  @Test func theyAreInOrder() {
    #expect(MigrationState.allCases.shuffled().sorted() == MigrationState.allCases)
    #expect(MigrationState.cutOver < .rolledBack && !(MigrationState.rolledBack < .rolledBack))
  }

  private static let predicates: [(name: String, holds: @Sendable (MigrationState) -> Bool)] = [
    ("begun to copy", \.hasBegunToCopy), ("copy in place", \.hasCopyInPlace), ("handed off", \.hasHandedOff),
    ("replicating", \.isReplicating), ("held up", \.isHeldUp), ("nothing standing", \.hasNothingStanding),
  ]

  @Test(
    arguments: [
      (MigrationState.none, ["nothing standing"]),
      (.prepared, []),
      (.copying, ["begun to copy"]),
      (.standby, ["begun to copy", "copy in place"]),
      (.handedOff, ["begun to copy", "copy in place", "handed off", "replicating"]),
      (.fenced, ["begun to copy", "copy in place", "handed off", "replicating", "held up"]),
      (.drained, ["begun to copy", "copy in place", "handed off", "replicating", "held up"]),
      (.cutOver, ["begun to copy", "copy in place", "handed off", "replicating"]),
      (.rolledBack, ["begun to copy", "copy in place", "handed off", "replicating"]),
      (.finished, ["begun to copy", "copy in place", "handed off", "nothing standing"]),
    ] as [(MigrationState, [String])]) func whatHolds(state: MigrationState, names: [String])
  {
    #expect(Self.predicates.filter { $0.holds(state) }.map(\.name) == names)
  }

  /// What the steps do: copy, hand off, cut over, roll back, give up, and lift a fence.
  @Test(
    arguments: [
      (MigrationState.none, []),
      (.prepared, []),
      (.copying, [.none, .prepared, .copying, .standby, .handedOff, .rolledBack, .finished]),
      (.standby, [.copying, .standby]),
      (.handedOff, [.copying, .standby, .fenced, .drained]),
      (.fenced, [.handedOff, .fenced, .drained, .cutOver, .rolledBack]),
      (.drained, [.handedOff, .fenced, .drained, .cutOver, .rolledBack]),
      (.cutOver, [.fenced, .drained]),
      (.rolledBack, [.fenced, .drained]),
      (.finished, [.prepared, .copying, .standby, .handedOff, .cutOver, .rolledBack]),
    ] as [(MigrationState, [MigrationState])]) func whatFollows(state: MigrationState, others: [MigrationState])
  {
    #expect(MigrationState.allCases.filter { state.follows($0) } == others)
  }

  @Test func everyPhaseThatAStepRecordsCanBeReached() {
    var reached: Set<MigrationState> = [.none]
    while true {
      let next = MigrationState.allCases.filter { state in reached.contains { state.follows($0) } }
      guard !reached.isSuperset(of: next) else { break }
      reached.formUnion(next)
    }
    #expect(MigrationState.allCases.filter { !reached.contains($0) } == [.prepared])
  }
}
