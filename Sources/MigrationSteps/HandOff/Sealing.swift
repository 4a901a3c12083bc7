import HostAdmin
import Inventory
import Journal
import MigrationCore
import PostgresClient
import RemoteHost
import ReplicationModel

/// What follows the promotion and precedes the first worker, on the target. Safe to run again at any point.
struct Sealing {
  let context: MigrationContext
  let target: ServerControl
  let record: HandOffRecord
  let handOff: LSN

  func run() async throws {
    try await checkIdentity()
    try await disableSubscriptions()
    try await rollBackPrepared()
    try await makeOrigins()
    try await restartInQuarantine()
    try await dropSlots(context, .source, names: [record.names.physicalSlot])
    try await target.remote.runChecked(target.passfileRemoval)
    try await dropPublications(context, .target, of: record.databases)
    try await DDLTriggers.lift(context, .target, record)
    try await makeReverseSlots()
    try await context.setState(.handedOff)
  }

  private func checkIdentity() async throws {
    let session = try await context.session(.target)
    let identifier = try await session.query(
      "SELECT system_identifier FROM pg_catalog.pg_control_system()"
    ).first
    guard identifier == String(record.sourceSystemIdentifier) else {
      throw ConvoyError(
        "handoff.wrong-server",
        "the target is no copy of the source: its system identifier is \(identifier ?? "unknown")",
        at: context.place("hand_off", .target))
    }
    try await context.updateHandOff { $0.targetSystemIdentifier = $0.sourceSystemIdentifier }
  }

  /// Subscriptions came along with the copy, enabled as they were; no worker could start for them so far.
  private func disableSubscriptions() async throws {
    let subscriptions = Subscriptions(context: context, side: .target)
    let enabled = try await subscriptions.enabled()
    guard !enabled.isEmpty else { return }
    let known = try await context.fact(FactKey.inheritedSubscriptions, as: [Subscriptions.Name].self) ?? []
    try await context.setFact(FactKey.inheritedSubscriptions, known + enabled.filter { !known.contains($0) })
    try await subscriptions.disable(enabled)
    context.progress("disabled \(enabled.count) inherited subscriptions")
  }

  /// Their COMMIT PREPARED will come with the stream, with all of their rows.
  private func rollBackPrepared() async throws {
    let prepared = try await context.session(.target).query(
      HandOffSQL.prepared)
    for row in prepared.rows {
      let session = try await context.session(.target, database: row.string(1))
      try await session.script(HandOffSQL.rollBack(prepared: quotedLiteral(row.string(0))))
      context.progress("rolled back prepared transaction \(row.string(0)) on the target")
    }
  }

  /// Inherited origins carry the source's own progress, which would make a worker skip everything; ours begin at L.
  private func makeOrigins() async throws {
    let session = try await context.session(.target)
    let ours = record.databases.map(\.originName)
    let present = try await session.query(HandOffSQL.origins).rows.map { $0.string(0) }
    let beside = ours.map(HandOffNames.secondOrigin)
    for origin in present where !ours.contains(origin) && !beside.contains(origin) {
      try await session.query(HandOffSQL.dropOrigin, [origin])
      context.progress("dropped inherited replication origin \(origin)")
    }
    try await createOrigins(session, ours.filter { !present.contains($0) }, at: handOff)
    for origin in ours {
      let progress = try await session.query(
        "SELECT pg_catalog.pg_replication_origin_progress($1, true)", [origin]
      ).first.flatMap { LSN($0) }
      guard let progress, progress >= handOff else {
        throw ConvoyError(
          "handoff.origin-not-set", "replication origin \(origin) stands at \(progress?.description ?? "nothing")",
          at: context.place("hand_off", .target), hint: "run the playbook again")
      }
    }
  }

  /// Leaves recovery's settings behind. Done here, so that the cutover needs a reload only.
  private func restartInQuarantine() async throws {
    let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
    let wanted = quarantine.configuration(for: .synchronising).rendered(comment: Quarantine.comment)
    let path = target.dataDirectory + "/postgresql.auto.conf"
    if try await target.download(path) == wanted, try await target.isRunning() { return }
    await context.closeSessions(.target)
    context.progress("restarting the promoted target")
    // Written while the server is down: a file that is as wanted then says that the server has read it.
    try await target.stop()
    try await target.upload(wanted, to: path)
    try await target.start()
  }

  /// While nobody writes on the target these need not wait for anything.
  private func makeReverseSlots() async throws {
    try await Way(context: context, record: record, direction: .reverse).makeSlots()
    for database in record.databases where database.name != context.migration.target.postgres.maintenanceDatabase {
      await context.closeSession(.target, database: database.name)
    }
  }
}
