package import HostAdmin
package import Inventory
import Journal
package import ReplicationModel

/// The key of something that the steps remember from one to the next in the journal, with the type of its value. None
/// of it is a secret, none of it is the truth about progress.
///
/// A fact whose type belongs to one room has its key beside the type there. The names stand in journals: they and the
/// JSON of their values stay as they are.
package struct FactKey<Value: Codable & Sendable>: Sendable {
  /// The key in the journal, one for each fact.
  package let name: String

  package init(_ name: String) {
    self.name = name
  }
}

extension FactKey<Bool> {
  /// The target's PostgreSQL ran before it was replaced.
  package static var targetWasRunning: Self { Self("target_was_running") }
  /// Whether the latest cutover or rollback has done all that its opening has behind it.
  package static var openedWholly: Self { Self("opened_wholly") }
}

extension FactKey<ServerDirectories> {
  /// Where the target's server lives, for a run that finds it down.
  package static var targetDirectories: FactKey<ServerDirectories> { Self("target_directories") }
  /// Where the source's server lives, while it is restarted.
  package static var sourceRestart: FactKey<ServerDirectories> { Self("source_restart") }
}

extension FactKey<String> {
  /// Of the block that was taken out of a side's pg_hba.conf and is not shown to be out of force yet.
  package static func liftedProof(_ side: Side) -> Self { Self("lifted_proof_\(side.rawValue)") }
  /// Where the old data directory went, on the target.
  package static var oldDataDirectory: Self { Self("old_data_directory") }
  /// The nonce whose slots are made, until its restore point.
  package static var slotsMade: Self { Self("slots_made") }
  /// The nonce whose base backup is complete.
  package static var backupComplete: Self { Self("backup_complete") }
}

extension FactKey<[String]> {
  /// Directories outside the copy's own that a base backup fills, on the target; they were empty before.
  package static var copyPlaces: Self { Self("copy_places") }
}

extension FactKey<[HostBasedAuthentication.SubscriptionName]> {
  /// What was disabled on the copy, which has the source's subscriptions.
  package static var inheritedSubscriptions: Self { Self("inherited_subscriptions") }
  /// What the fence of a side has disabled, for when its block in pg_hba.conf is gone.
  package static func fencedSubscriptions(_ side: Side) -> Self { Self("fenced_subscriptions_\(side.rawValue)") }
}

/// Milliseconds since 1970.
extension FactKey<UInt64> {
  /// When writers were first held up in the cutover or rollback at hand.
  package static var downtimeBegan: Self { Self("downtime_began_ms") }
  /// When the latest cutover or rollback was over.
  package static var opened: Self { Self("opened_ms") }
  /// How long the latest full comparison of all databases took, in milliseconds; not a time of day.
  package static var verificationTook: Self { Self("verification_took_ms") }
}

extension FactKey<MigrationReport> {
  /// The report so far, filled in step by step.
  package static var report: FactKey<MigrationReport> { Self("report") }
}

extension MigrationContext {
  /// What the journal remembers; nil when nothing does.
  ///
  /// - Throws: `journal.corrupt` when it is of another type.
  package func fact<Value>(_ key: FactKey<Value>) async throws -> Value? {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in
      try file.fact(Value.self, forKey: key.name, migration: name)
    }
  }

  /// Remembers it, in the place of what was remembered before.
  package func setFact<Value>(_ key: FactKey<Value>, _ value: Value) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in
      try file.setFact(value, forKey: key.name, migration: name)
    }
  }

  package func removeFact<Value>(_ key: FactKey<Value>) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in try file.removeFact(forKey: key.name, migration: name) }
  }
}
