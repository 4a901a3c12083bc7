import MigrationCore
package import ReplicationModel

/// - Throws: `verify.index-differs`.
package func check(
  _ indexes: [IndexProof.Outcome], _ direction: StreamDirection = .forward, at place: ConvoyError.Place
) throws(ConvoyError) {
  let differing = indexes.filter(\.differs)
  guard !differing.isEmpty else { return }
  throw ConvoyError(
    "verify.index-differs",
    "rows are not found alike on both sides: "
      + few(differing.map { "database \($0.database), \($0.label) \($0.words(direction))" }, separator: "; "),
    at: place,
    hint: "what it is made by goes by settings that sessions have set: have the database set them, for all "
      + "(ALTER DATABASE … SET, on both servers), REINDEX it on both, then run the playbook again")
}

extension IndexProof.Outcome {
  /// `misses 3 rows under 2 keys on the target, 0 rows under 0 keys on the source`.
  fileprivate func words(_ direction: StreamDirection) -> String {
    func side(_ sum: IndexSum?) -> String { "\(sum?.missing ?? 0) rows under \(sum?.keys ?? 0) keys" }
    return "misses \(side(to)) on the \(direction.toName), \(side(from)) on the \(direction.fromName)"
  }
}

extension MigrationReport {
  /// What was found of the indexes that go by settings.
  package mutating func note(_ indexes: [IndexProof.Outcome], _ direction: StreamDirection = .forward) {
    for outcome in indexes {
      if outcome.isUnproven {
        note(
          .warning,
          "\(outcome.label) goes by settings, and what it finds could not be compared: REINDEX it on the "
            + "\(direction.toName) to be sure", database: outcome.database)
      } else if outcome.differs || outcome.from != IndexSum() {
        note(.warning, "\(outcome.label) \(outcome.words(direction))", database: outcome.database)
      }
    }
  }
}
