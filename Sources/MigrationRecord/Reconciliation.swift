package import Inventory
package import Journal
import ReplicationModel

/// What a journal and the servers' records make of each other; pure.
package enum Reconciliation: Sendable, Equatable {
  /// They agree, or none of them knows anything.
  case inStep
  /// The journal is behind, or missing: it takes over what a server has.
  case takeOver(ServerRecord)
  /// A server lacks what the journal has.
  case publish
  case contradiction(Contradiction)

  /// What one side says.
  package enum Seen: Sendable, Equatable {
    /// It could not be asked.
    case unreachable
    /// It has no record of its own.
    case nothing
    case record(ServerRecord)

    var record: ServerRecord? { if case .record(let record) = self { record } else { nil } }
  }

  package enum Contradiction: Sendable, Equatable {
    /// Neither follows from the other.
    case servers(ServerRecord, ServerRecord)
    /// The journal and a server have gone different ways.
    case journal(ServerRecord)
    /// The servers have what the journal has moved on from: restored from a backup, say.
    case serversAreOlder(ServerRecord)
    /// The servers had a record, and have none any more.
    case serversKnowNothing
  }

  package init(_ journal: JournalView?, _ seen: [Side: Seen]) {
    let records = Side.allCases.compactMap { seen[$0]?.record }
    guard let newest = records.max(by: { $0.standing.epoch < $1.standing.epoch }) else {
      self = Self.withoutRecords(journal, seen)
      return
    }
    if let other = records.first(where: { !newest.standing.follows($0.standing) }) {
      self = .contradiction(.servers(newest, other))
      return
    }
    guard let journal, journal.standing.epoch > 0 else {
      self = .takeOver(newest)
      return
    }
    if newest.standing.hasSameToken(journal.standing) {
      let lags = records.contains { !$0.standing.hasSameToken(journal.standing) }
      self = journal.standing.isAhead || lags ? .publish : .inStep
    } else if newest.standing.follows(journal.standing) || journal.document.nonce == nil {
      self = .takeOver(newest)
    } else if journal.standing.follows(newest.standing) {
      let isAsked = Side.allCases.allSatisfy { seen[$0] != .unreachable }
      self = isAsked ? .contradiction(.serversAreOlder(newest)) : .publish
    } else {
      self = .contradiction(.journal(newest))
    }
  }

  private static func withoutRecords(_ journal: JournalView?, _ seen: [Side: Seen]) -> Reconciliation {
    guard let journal else { return .inStep }
    guard journal.standing.epoch > 0, journal.document.nonce != nil else {
      // Servers that know nothing yet of a journal of the version before, or of what was prepared.
      return journal.standing.isAhead ? .publish : .inStep
    }
    // The source is where the first one was written.
    return seen[.source] == .nothing ? .contradiction(.serversKnowNothing) : .inStep
  }
}

extension JournalStanding {
  func hasSameToken(_ other: JournalStanding) -> Bool { epoch == other.epoch && token == other.token }

  /// Whether this one came from the other by changes that each knew the one before, or is the same.
  ///
  /// What is older than the tokens that are kept counts as known.
  func follows(_ other: JournalStanding) -> Bool {
    if hasSameToken(other) { return true }
    guard epoch > other.epoch else { return false }
    if let token = lineage[other.epoch] { return token == other.token }
    return lineage.count >= Self.lineageLength && other.epoch < epoch - Self.lineageLength
  }
}
