import Inventory
import Journal
import MigrationCore
import ReplicationModel

/// What a person reads when the records do not agree.
extension Truth {
  func findSuperseded(_ table: RecordTable) async throws -> ConvoyError {
    let error =
      try await table.read(context.migrationName).map(supersededBy)
      ?? ConvoyError(
        "truth.superseded", "the record of migration \(context.migrationName) was taken away meanwhile: this run stops",
        at: table.place, hint: "see 'pgconvoy status'; another machine may have finished it")
    superseded = error
    return error
  }

  func supersededBy(_ record: ServerRecord) -> ConvoyError {
    ConvoyError(
      "truth.superseded",
      "migration \(context.migrationName) has been taken on elsewhere: \(record.summary); this run stops",
      at: .host(context.host(record.side).name), hint: "see 'pgconvoy status', then decide anew")
  }

  func contradiction(_ what: Reconciliation.Contradiction, _ journal: JournalView?) -> ConvoyError {
    let name = context.migrationName
    let mine = journal.map { "'\($0.document.state.rawValue)', epoch \($0.standing.epoch)" } ?? "nothing"
    let adopt = "where the servers are right, 'pgconvoy adopt' makes the journal anew from them"
    switch what {
    case .servers(let one, let other):
      return ConvoyError(
        "truth.contradiction",
        "the servers contradict each other about migration \(name): \(context.host(one.side).name) has "
          + "\(one.summary); \(context.host(other.side).name) has \(other.summary)",
        hint: "was one of them restored from a backup, or worked on while the other was out of reach? see the docs, "
          + "'When the records contradict'")
    case .journal(let record):
      return ConvoyError(
        "truth.contradiction",
        "this journal has migration \(name) at \(mine); \(context.host(record.side).name) has \(record.summary), which "
          + "does not follow from it", at: .host(context.host(record.side).name), hint: adopt)
    case .serversAreOlder(let record):
      return ConvoyError(
        "truth.contradiction",
        "this journal has migration \(name) at \(mine), and both servers are behind it: "
          + "\(context.host(record.side).name) has \(record.summary)", at: .host(context.host(record.side).name),
        hint: "was a server restored from a backup? " + adopt)
    case .serversKnowNothing:
      return ConvoyError(
        "truth.contradiction",
        "this journal has migration \(name) at \(mine), and \(context.host(.source).name) has no record of it any more",
        at: .host(context.host(.source).name),
        hint:
          "it was finished from another machine, or the source is another server now; then a state directory of its own "
          + "(--state) begins a new migration")
    }
  }
}
