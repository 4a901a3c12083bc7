import HostAdmin
import Inventory
import Journal
import MigrationCore
import PostgresClient
import RemoteHost
import ReplicationModel
import StatementReplication

/// What follows the promotion and precedes the first worker, on the target. Safe to run again at any point.
struct Sealing {
  let context: MigrationContext
  let target: ServerControl
  let record: HandOffRecord
  /// The step that it is part of, for errors.
  let step: String

  init(_ context: MigrationContext, step: String) async throws {
    self.step = step
    self.context = context
    target = try await context.server(.target)
    record = try await context.plannedRecord()
  }

  private var names: [String] { record.databases.map(\.name) }

  func deeds() async throws -> [Deed] {
    // As long as it is not, what it will be like is told by what the source is like.
    var isPromoted = record.targetTimeline != nil
    if isPromoted { isPromoted = try await target.isRunning() }
    let asks = isPromoted
    return [
      .aside { _ in try await checkIdentity() },
      // What the copy has inherited is asked of the source, as long as there is no copy.
      .later(announced: { try await forgetting(asSeenOn: asks ? .target : .source) }) { _ in
        try await forgetting(asSeenOn: .target)
      },
      .aside { _ in try await checkOrigins() },
      .later(announced: {
        if asks { return try await restarting() }
        return restarting(try await Quarantine.announced(context, target, .synchronising))
      }) { _ in try await restarting() },
      .later(announced: {
        if asks { return try await droppingPhysicalSlot() }
        return [.sql(.source, dropSlotSQL, [.text(record.names.physicalSlot)])]
      }) { _ in try await droppingPhysicalSlot() },
      .command(.target, target.passfileRemoval),
    ] + SlotDeeds.droppingPublications(context, .target, record.databases.map { ($0.name, $0.publicationName) }) + [
      .later(announced: { asks ? try await liftingTriggers() : announcedLifting() }) { _ in
        try await liftingTriggers()
      },
      // While nobody writes on the target these need not wait for anything.
      .later(announced: { asks ? try await makingSlots() : announcedSlots() }) { _ in try await makingSlots() },
      .aside { _ in
        for database in names where database != context.migration.target.postgres.maintenanceDatabase {
          await context.closeSession(.target, database: database)
        }
        try await context.setState(.handedOff)
      },
    ]
  }

  private func checkIdentity() async throws {
    let identifier = try await context.systemIdentifier(.target)
    guard identifier == record.sourceSystemIdentifier else {
      throw ConvoyError(
        "handoff.wrong-server",
        "the target is no copy of the source: its system identifier is \(identifier?.description ?? "unknown")",
        at: context.place(step, .target))
    }
    try await context.updateHandOff { $0.targetSystemIdentifier = $0.sourceSystemIdentifier }
  }

  /// Subscriptions came along with the copy, enabled as they were; no worker could start for them so far. Prepared
  /// transactions are rolled back: their COMMIT PREPARED will come with the stream, with all of their rows. Inherited
  /// origins carry the source's own progress, which would make a worker skip everything; ours begin at L.
  private func forgetting(asSeenOn side: Side) async throws -> [Deed] {
    let session = try await context.session(side)
    let enabled = try await Subscriptions(context: context, side: side).enabled()
    var deeds: [Deed] = []
    if !enabled.isEmpty {
      deeds.append(.aside { _ in try await noteInherited(enabled) })
      deeds += Subscriptions(context: context, side: .target).disabling(enabled)
      deeds.append(.say("disabled \(enabled.count) inherited subscriptions"))
    }
    for row in try await session.query(HandOffSQL.prepared).rows {
      deeds += [
        .sql(.target, database: row.string(1), HandOffSQL.rollBack(prepared: quotedLiteral(row.string(0)))),
        .say("rolled back prepared transaction \(row.string(0)) on the target"),
      ]
    }
    let ours = record.databases.map(\.originName)
    let beside = ours.map(HandOffNames.secondOrigin)
    let present = try await session.query(HandOffSQL.origins).rows.map { $0.string(0) }
    for origin in present where !ours.contains(origin) && !beside.contains(origin) {
      deeds += [
        .sql(.target, HandOffSQL.dropOrigin, [.text(origin)]),
        .say("dropped inherited replication origin \(origin)"),
      ]
    }
    let position = record.handOffLSN?.description ?? "<hand-off>"
    deeds += ours.filter { !present.contains($0) }.map { origin in
      .sql(.target, HandOffSQL.makeOrigin, [.text(origin), .text(position)])
    }
    return deeds
  }

  private func noteInherited(_ enabled: [Subscriptions.Name]) async throws {
    let known = try await context.fact(.inheritedSubscriptions) ?? []
    try await context.setFact(.inheritedSubscriptions, known + enabled.filter { !known.contains($0) })
  }

  private func checkOrigins() async throws {
    let session = try await context.session(.target)
    for origin in record.databases.map(\.originName) {
      let progress = try await session.query(
        "SELECT pg_catalog.pg_replication_origin_progress($1, true)", [origin]
      ).first.flatMap { LSN($0) }
      guard let progress, let handOff = record.handOffLSN, progress >= handOff else {
        throw ConvoyError(
          "handoff.origin-not-set", "replication origin \(origin) stands at \(progress?.description ?? "nothing")",
          at: context.place(step, .target), hint: "run the playbook again")
      }
    }
  }

  /// Leaves recovery's settings behind. Done here, so that the cutover needs a reload only.
  private func restarting() async throws -> [Deed] {
    let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
    let wanted = quarantine.configuration(for: .synchronising).rendered(comment: Quarantine.comment)
    if try await target.download(target.settingsFile) == wanted, try await target.isRunning() { return [] }
    return [.say("restarting the promoted target")] + restarting(FileText(wanted))
  }

  /// Written while the server is down: a file that is as wanted then says that the server has read it.
  private func restarting(_ text: FileText) -> [Deed] {
    [.server(.target, .stop), .write(.target, target.settingsFile, text), .server(.target, .start)]
  }

  private func droppingPhysicalSlot() async throws -> [Deed] {
    try await SlotDeeds.dropping(context, .source, [record.names.physicalSlot])
  }

  private func liftingTriggers() async throws -> [Deed] {
    try await DDLTriggers.lifting(context, .target, record.names, names)
  }

  private func makingSlots() async throws -> [Deed] {
    try await Way(context: context, record: record, direction: .reverse).makingSlots()
  }

  private func announcedLifting() -> [Deed] {
    guard let schema = DDLTriggers.schema(context.migration.ddl, record.names) else { return [] }
    return names.flatMap { DDLTriggers.removing(context, .target, schema, in: $0) }
  }

  private func announcedSlots() -> [Deed] {
    record.databases.flatMap { database in
      SlotDeeds.making(
        context, .target, record.slot(database, .reverse), in: database.name, within: .seconds(60))
    }
  }
}
