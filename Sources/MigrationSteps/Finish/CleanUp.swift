import CopySteps
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel
import StatementReplication

/// Takes away what a migration has put on one side, found by the nonces of all its hand-offs that are on record.
struct CleanUp {
  let context: MigrationContext
  let side: Side
  let handOffs: [HandOffRecord]
  /// The side that goes on serving.
  let serving: Side

  init(_ context: MigrationContext, _ side: Side) async throws {
    self.context = context
    self.side = side
    let name = context.migrationName
    (handOffs, serving) = try await context.journal.perform { file throws(ConvoyError) in
      (try file.handOffs(migration: name), try file.migration(name)?.direction.from ?? .source)
    }
  }

  /// Whether the side is a copy that is given up: its old server comes back.
  var isGivenUp: Bool { side == .target && serving == .source }

  // MARK: what there is

  /// One line for each thing of ours on the server.
  func left() async throws -> [String] {
    guard let session = try? await context.session(side) else {
      // A target that had no cluster of its own before has none now.
      if isGivenUp { return [] }
      return [try await context.session(side).parameters.displayName]
    }
    if isGivenUp, try await !isCopy() { return try await filesLeft() }
    var found = try await names(session, slots: true).map { "replication slot \($0)" }
    found += try await names(session, slots: false).map { "replication origin \($0)" }
    found += try await objects(publications).map { "publication \($0.name) in database \($0.database)" }
    found += try await objects(DDLTriggers.present).map {
      "the event triggers of \($0.name) in database \($0.database)"
    }
    if try await Fence(context: context, side: side).isUp() { found.append("pgconvoy's block in pg_hba.conf") }
    found += try await ConnectionLimits(context: context, side: side).closed().map { "the closed database \($0)" }
    if side == .source {
      found += try await WhatWasPrepared.left(context)
    }
    return found + (try await filesLeft())
  }

  private func publications(_ session: PostgresSession) async throws -> [String] {
    try await session.query("SELECT pubname FROM pg_catalog.pg_publication").rows.map { $0.string(0) }
  }

  /// In all databases of any of the hand-offs: the inventory may say another thing by now.
  private func objects(
    _ names: (PostgresSession) async throws -> [String]
  ) async throws -> [(database: String, name: String)] {
    let present = try await context.allDatabases(side).map(\.name)
    let known = Set(handOffs.flatMap { $0.databases.map(\.name) }).intersection(present)
    var found: [(database: String, name: String)] = []
    for database in known.sorted() {
      let present = try await names(context.session(side, database: database))
      found += present.filter(isOurs).map { (database, $0) }
      await context.closeSession(side, database: database)
    }
    return found
  }

  private func isOurs(_ name: String) -> Bool {
    handOffs.contains { name.hasPrefix("pgconvoy_\($0.names.nonce)_") }
  }

  private func filesLeft() async throws -> [String] {
    guard side == .target else { return [] }
    let target = try await context.server(.target)
    var found: [String] = []
    for path in [target.passfile, "\(target.dataDirectory)/\(ServerControl.keptSettings)"] {
      if try await target.exists(path) { found.append("file \(path)") }
    }
    return found
  }

  /// Whether the server has the source's data.
  private func isCopy() async throws -> Bool {
    let identifier = try await context.systemIdentifier(side)
    return handOffs.contains { $0.sourceSystemIdentifier == identifier }
  }

  // MARK: taking it away

  /// What was done, one line.
  static let done = Found<String>("clean_up.done", placeholder: "")

  /// Takes everything of ours away from the side; from a target that is given up, with the copy itself.
  func deeds() async throws -> [Deed] {
    if isGivenUp { return try await givingBack() }
    let session = try await context.session(side)
    let (slots, origins) = try await (names(session, slots: true), names(session, slots: false))
    var done = "\(slots.count) slots, \(origins.count) replication origins"
    var deeds = try await SlotDeeds.dropping(context, side, slots, cuttingOff: true)
    deeds += try await SlotDeeds.dropping(context, side, origins: origins)
    deeds += try await objects(publications).map {
      .ddl(side, database: $0.database, HandOffSQL.dropPublication($0.name))
    }
    deeds += try await objects(DDLTriggers.present).flatMap {
      DDLTriggers.removing(context, side, $0.name, in: $0.database)
    }
    let fence = Fence(context: context, side: side)
    if try await fence.hasTraces() {
      // Where the other side serves, it has taken over the subscriptions: two would take each change.
      let disabled = try await fence.disabledSubscriptions()
      deeds += try await fence.lifting(enablingSubscriptions: side == serving)
      done += " and the fence"
      if side != serving, !disabled.isEmpty {
        deeds.append(
          .say("left disabled: subscriptions " + few(disabled.map { "\($0.name) in \($0.database)" })))
      }
    }
    if side == .source {
      deeds += try await WhatWasPrepared.takingBack(context)
    } else {
      deeds.append(.command(.target, fileRemoval(try await context.server(.target))))
    }
    let summary = done
    return deeds + [.aside { found in found[Self.done] = "removed " + summary }]
  }

  /// What becomes of a target that is given up.
  private enum GivingBack {
    /// The old data directory comes back into its place.
    case oldData(HandOffNames)
    /// The old data is gone; the copy is stopped and moved aside.
    case moveAside
    /// That is done.
    case nothing
  }

  private func wayToGiveBack(_ target: ServerControl) async throws -> GivingBack {
    let oldData = OldCluster(context: context, target: target)
    guard let names = handOffs.last?.names else { return .nothing }
    if try await !oldData.isRemoved(names) { return .oldData(names) }
    // By what is on record and in the files: the copy need not run.
    let state = try await context.state()
    var isInPlace = state.hasCopyInPlace
    if !isInPlace { isInPlace = try await target.exists(target.oldDirectory(names)) }
    guard isInPlace, try await oldData.isWhole(target.dataDirectory) else { return .nothing }
    let identifier = try await target.controlData().systemIdentifier
    return handOffs.contains { $0.sourceSystemIdentifier == identifier } ? .moveAside : .nothing
  }

  private func givingBack() async throws -> [Deed] {
    try await ServingServers(context).refuseReplacingTarget("clean_up")
    let target = try await context.server(.target)
    var deeds: [Deed] = []
    var done = "the target is given back"
    switch try await wayToGiveBack(target) {
    case .oldData(let names):
      deeds = try await DirectorySwap(context, target, names).takingBack()
      done = "put the target's old data directory back"
    case .moveAside:
      if try await target.isRunning() { deeds.append(.server(.target, .stop)) }
      // Moved first: cut off in between, a file that no cluster uses is left fenced, and no copy unfenced.
      let lifting = try await DirectorySwap.liftingOutsideFence(target)
      deeds.append(.command(.target, moveAside(target)))
      deeds += lifting
      done = "stopped the copy and moved it to \(target.copyDirectory); the target's old data is gone"
    case .nothing:
      // Cut off behind the old data directory's return, its server is still to be started.
      if let names = handOffs.last?.names, try await context.state() == .copying {
        deeds = try await DirectorySwap(context, target, names).takingBack()
      }
    }
    deeds.append(.command(.target, target.passfileRemoval))
    // A target that was open has had services of its own, which are not to run beside the source's.
    if try await context.fact(.opened) == nil {
      let services = try await context.startingAgain(.target)
      deeds += services.deeds
      if let words = services.summary { done += ", " + words }
    }
    let summary = done
    return deeds + [.aside { found in found[Self.done] = summary }]
  }

  private func moveAside(_ target: ServerControl) -> RemoteCommand {
    target.command(
      "mv -T -- \"$1\" \"$2\"", [target.dataDirectory, target.copyDirectory], label: "moving the copy aside")
  }

  private func fileRemoval(_ target: ServerControl) -> RemoteCommand {
    target.command(
      "rm -f -- \"$1\" \"$2\"", [target.passfile, "\(target.dataDirectory)/\(ServerControl.keptSettings)"],
      label: "removing files")
  }

  /// Directories of data that nobody serves any more: the target's former ones, or the copy that was given up.
  func keptData() async throws -> [String] {
    guard side == .target else { return [] }
    let target = try await context.server(.target)
    var found: [String] = []
    for path in [target.copyDirectory] + handOffs.map({ target.oldDirectory($0.names) }) {
      if try await target.exists(path) { found.append(path) }
    }
    return found
  }

  /// What `keptData` will find when `run` is over.
  func keptDataAfterwards() async throws -> [String] {
    var paths = try await keptData()
    guard isGivenUp else { return paths }
    let target = try await context.server(.target)
    let way = try await wayToGiveBack(target)
    if case .oldData(let names) = way { paths.removeAll { $0 == target.oldDirectory(names) } }
    if case .nothing = way { return paths }
    if !paths.contains(target.copyDirectory), try await target.exists(target.dataDirectory) {
      paths.insert(target.copyDirectory, at: 0)
    }
    return paths
  }

  func removal(of path: String, _ target: ServerControl) async throws -> RemoteCommand {
    if path == target.copyDirectory { return target.copyRemoval(places: try await context.copyPlaces()) }
    return target.command("rm -rf -- \"$1\"", [path], label: "removing kept data", deadline: .seconds(86_400))
  }

  private func names(_ session: PostgresSession, slots: Bool) async throws -> [String] {
    let (column, table) = slots ? ("slot_name", "pg_replication_slots") : ("roname", "pg_replication_origin")
    let present = try await session.query("SELECT \(column) FROM pg_catalog.\(table)").rows.map { $0.string(0) }
    // A database's first origin before the one of its worker's second session, see `dropOrigins`.
    return present.filter(isOurs).sorted()
  }
}
