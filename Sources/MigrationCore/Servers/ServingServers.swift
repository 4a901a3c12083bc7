import HostAdmin
package import Inventory
import PostgresClient
import ReplicationModel

/// Which servers take writes, by what they themselves say: the journal may be lost, or be a copy from before a cutover.
package struct ServingServers: Sendable {
  let context: MigrationContext

  package init(_ context: MigrationContext) { self.context = context }

  /// Whether applications may write to a side, as far as it can be asked.
  ///
  /// A target counts as soon as it is a promoted copy of the source whose `pg_hba.conf` does not say that it is in
  /// quarantine, whether it runs or not: a fence stands around the truth, too, in the middle of a rollback. A target with
  /// data of its own is no matter of the migration's.
  package func isOpen(_ side: Side) async throws -> Bool {
    if side == .source { return try await !Fence(context: context, side: .source).isUp() }
    return try await isOpenCopy()
  }

  /// By the target's files alone: our role need not be known there, and the server need not run.
  private func isOpenCopy() async throws -> Bool {
    let target = try await context.server(.target)
    guard try await target.exists("\(target.dataDirectory)/\(OldCluster.heart)") else { return false }
    let control = try await target.controlData()
    guard !control.isInRecovery, control.systemIdentifier == (try await context.systemIdentifier(.source))
    else { return false }
    guard let path = try await hbaPath(target) else { return false }
    let block = try await HBAFile(server: target, path: path).read()
    return !block.isFenced || block.note?.hasPrefix(Quarantine.noteBegins) != true
  }

  /// Where a configuration cannot be read by now, a server that still runs with it knows.
  private func hbaPath(_ target: ServerControl) async throws -> String? {
    do {
      guard let files = try await ConfigurationFiles.find(target) else { return nil }
      return files.hba.hasPrefix("/") ? files.hba : "\(target.dataDirectory)/\(files.hba)"
    } catch {
      guard let session = try? await context.session(.target), let path = try await session.query("SHOW hba_file").first
      else { throw error }
      return path
    }
  }

  /// Refuses to replace the target's data, or to put other data in its place, where it is a copy that serves.
  ///
  /// - Throws: `truth.target-has-writers`.
  package func refuseReplacingTarget(_ step: String) async throws {
    guard try await isOpenCopy() else { return }
    let nonce = await targetsNonce()
    if let nonce, nonce == context.environment.discards { return }
    let host = context.host(.target).name
    let directory = try await context.server(.target).dataDirectory
    let way = nonce.map { "--discard \($0) says so" } ?? "stop its PostgreSQL and move \(directory) away"
    throw ConvoyError(
      "truth.target-has-writers",
      "\(host) is a copy of \(context.host(.source).name) that applications write to: replacing it would lose all that they "
        + "wrote since its cutover", at: context.place(step, .target),
      hint:
        "does another state directory know of this migration? use that one, or roll back and finish there. Where nobody "
        + "needs what \(host) holds, "
        + way
    )
  }

  /// Of the hand-off that the target came from, by the origins and slots that it has of it; nil where it cannot be asked.
  private func targetsNonce() async -> String? {
    try? await context.session(.target).query(
      """
      SELECT pg_catalog.substr(name, 10, 12)
        FROM (SELECT roname FROM pg_catalog.pg_replication_origin UNION ALL
              SELECT slot_name FROM pg_catalog.pg_replication_slots) AS ours (name)
       WHERE name ~ '^pgconvoy_[0-9a-f]{12}_' LIMIT 1
      """
    ).first
  }

  /// Refuses a source that a fence stands around: what it has is old when its target is or was open.
  ///
  /// - Throws: `truth.source-has-open-target`.
  package func refuseFencedSource(_ step: String) async throws {
    guard try await !isOpen(.source) else { return }
    if let discards = context.environment.discards, await targetsNonce() == discards { return }
    let host = context.host(.source).name
    throw ConvoyError(
      "truth.source-has-open-target",
      "\(host) is fenced: a cutover has been begun on it, and its target may be what applications write to",
      at: context.place(step, .source),
      hint: "use the state directory of that cutover; where it was called off, run playbooks/unfence.yml first")
  }

  /// Refuses what closes or opens a side by a journal that the servers have left behind.
  ///
  /// - Parameter side: the one that the journal takes for closed.
  /// - Throws: `truth.newer-elsewhere`.
  package func refuseOpen(_ side: Side, _ step: String) async throws {
    guard try await isOpen(side) else { return }
    throw ConvoyError(
      "truth.newer-elsewhere",
      "\(context.host(side).name) takes writes, and this journal says that it is closed ('\(try await context.state().rawValue)')",
      at: context.place(step, side), hint: await waysOut(side))
  }

  /// A cutover or rollback that another journal knows of has closed the other side. Where that one is open as well,
  /// somebody has lifted this one's block.
  private func waysOut(_ side: Side) async -> String {
    let other: Side = side == .source ? .target : .source
    guard (try? await isOpen(other)) == true else {
      return "this state directory is older than what was done with the servers: use the one that it was done with"
    }
    let block = side == .target ? "quarantine" : "fence"
    return "so does \(context.host(other).name): the block of the \(block) is not in this one's pg_hba.conf any more, "
      + "and the sync process, which would put it back, has not done so. What is written to "
      + "\(context.host(side).name) gets nowhere else. Put the block back, or stop that PostgreSQL: "
      + "docs/how-to/finish-a-migration.md says how"
  }
}
