import HostAdmin
import Inventory
package import Playbook
import RemoteHost

/// Says what deeds would do, exactly; reads files to show what changes in them, and changes nothing.
package struct DeedAnnouncer: Sendable {
  let context: MigrationContext

  package init(_ context: MigrationContext) { self.context = context }

  package func announce(_ deeds: [Deed]) async throws -> [PlannedAction] {
    let nothing = Findings()
    var actions: [PlannedAction] = []
    for deed in deeds { actions += try await announce(deed, nothing) }
    return actions
  }

  /// - Parameter found: what is known by now; in check mode nothing.
  func announce(_ deed: Deed, _ found: Findings) async throws -> [PlannedAction] {
    switch deed {
    case .command(let side, let command): return [PlannedAction(host: name(side), command)]
    case .statement(let statement): return [announcement(statement, found)]
    case .file(let file): return try await announcement(file).map { [$0] } ?? []
    case .hosted(let host, let command): return [PlannedAction(host: host, command)]
    case .hostedFile(let host, let file):
      return [PlannedAction(host: host, .file(old: nil, new: file.announced), file.path)]
    case .server(let side, let verb):
      let server = try await context.server(side)
      return [
        PlannedAction(host: server.host.name, verb == .start ? server.startCommand() : server.stopCommand())
      ]
    case .service(let side, let service, let verb):
      return try await context.serviceControls(side).filter { $0.service.name == service }.map {
        PlannedAction(host: $0.host.name, verb == .start ? $0.startCommand : $0.stopCommand)
      }
    case .transfer(let rows):
      let (from, to) = (context.host(rows.from).name, context.host(rows.to).name)
      return [
        PlannedAction(host: from, database: rows.database, rows.reading),
        PlannedAction(host: to, database: rows.database, rows.emptying),
        PlannedAction(host: to, database: rows.database, rows.writing),
      ]
    case .procedure(let procedure):
      return [PlannedAction(host: name(procedure.side), procedure.kind.announced, procedure.text)]
    case .note(let side, let text): return [PlannedAction(host: name(side), .note, text)]
    case .aside, .say: return []
    case .together(let lists, _), .each(let lists): return try await announce(lists.flatMap { $0 })
    case .database(_, let deeds), .watching(_, let deeds): return try await announce(deeds)
    case .later(let later), .holdingOn(_, let later): return try await announce(later.announced())
    }
  }

  private func name(_ side: Side?) -> String? { side.map { context.host($0).name } }

  private func announcement(_ statement: StatementDeed, _ found: Findings) -> PlannedAction {
    let host = context.host(statement.side)
    return PlannedAction(
      host: host.name, database: statement.database ?? host.postgres.maintenanceDatabase, statement.text,
      statement.values.map(found.text))
  }

  /// Nil where the file is as wanted already.
  private func announcement(_ file: FileDeed) async throws -> PlannedAction? {
    let server = try await context.server(file.side)
    let isThere = try await server.exists(file.path)
    var old = isThere ? try await server.download(file.path) : nil
    let new: String?
    switch file.change {
    case .whole(let text): new = text.announced
    case .edit(let known, let edit):
      // What lies there now may be a leftover that goes before.
      old = known ?? old
      new = try edit(old ?? "")
      if new == old { return nil }
    }
    let shown: PlannedAction.Kind = .file(old: new == nil ? nil : old.map(ByteText.shown), new: new.map(ByteText.shown))
    return PlannedAction(host: server.host.name, shown, file.path)
  }
}

extension Procedure.Kind {
  fileprivate var announced: PlannedAction.Kind {
    switch self {
    case .wait: .wait
    case .look, .act: .note
    case .statement(let database): .sql(database: database)
    }
  }
}
