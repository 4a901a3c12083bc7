import FoundationEssentials
import HostAdmin
import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// Carries deeds out, one after the other, and writes each into the journal.
package struct DeedPerformer: Sendable {
  let context: MigrationContext
  let step: String
  var isUndo = false
  package let found = Findings()

  package init(_ context: MigrationContext, step: String, isUndo: Bool = false) {
    self.context = context
    self.step = step
    self.isUndo = isUndo
  }

  /// Stops at the first that fails; what was done before it stays done.
  package func perform(_ deeds: [Deed]) async throws {
    for deed in deeds {
      try Task.checkCancellation()
      try await perform(deed)
    }
  }

  private func perform(_ deed: Deed) async throws {
    switch deed {
    case .say(let text): context.progress(text)
    case .note: break
    case .aside(let aside): try await aside.body(found)
    case .together(let lists, let limit):
      _ = try await mapConcurrently(lists, limit: limit) { try await perform($0) }
    case .database(let name, let deeds):
      let began = ContinuousClock.now
      try await perform(deeds)
      found.note(database: name, began.duration(to: .now))
    case .watching(let watch, let deeds):
      let watcher = Task { try await watch.body() }
      defer { watcher.cancel() }
      try await perform(deeds)
    case .later(let later): try await perform(later.make(found))
    case .each(let lists):
      var first: (any Error)?
      for deeds in lists {
        do { try await perform(deeds) } catch {
          if first != nil { context.progress("\(error)".oneLine) }
          first = first ?? error
        }
      }
      if let first { throw first }
    case .holdingOn(let what, let deeds):
      try await context.holdingOn(what) { try await perform(deeds.make(found)) }
    case .command(let side, let command):
      try await recorded(deed) {
        if let side {
          try await context.remote(side).runChecked(command)
        } else {
          try await LocalHost().runChecked(command)
        }
      }
    case .statement(let statement): try await recorded(deed) { try await perform(statement) }
    case .file(let file): try await perform(file, deed)
    case .hosted(let host, let command):
      try await recorded(deed) { try await context.remote(named: host).runChecked(command) }
    case .hostedFile(let host, let file):
      try await recorded(deed) {
        try await context.remote(named: host).upload(try await file.make(), to: file.path, mode: file.mode, owner: nil)
      }
    case .server(let side, let verb): try await perform(verb, side, deed)
    case .service(let side, let name, let verb):
      try await recorded(deed) { try await perform(verb, ofService: name, side) }
    case .transfer(let rows): try await recorded(deed) { try await rows.body(found) }
    case .procedure(let procedure): try await recorded(deed) { try await procedure.body(found) }
    }
  }

  // MARK: the kinds

  private func perform(_ verb: Deed.ServerVerb, ofService name: String, _ side: Side) async throws {
    if verb == .start {
      _ = try await context.startService(name, side)
      return
    }
    for control in try await context.serviceControls(side) where control.service.name == name {
      try await control.stop()
    }
  }

  /// A server that is as wanted already has nothing done to it, and the journal says so.
  private func perform(_ verb: Deed.ServerVerb, _ side: Side, _ deed: Deed) async throws {
    await context.endSessions(side)
    let server = try await context.server(side)
    let isRunning = await asked { try await server.isRunning() }
    if case .success(verb == .start) = isRunning { return }
    try await recorded(deed) {
      _ = try isRunning.get()
      let tell = context.progress
      if verb == .start { try await server.startStopped(tell: tell) } else { try await server.stopRunning(tell: tell) }
    }
  }

  /// Nor a file.
  private func perform(_ file: FileDeed, _ deed: Deed) async throws {
    let server = try await context.server(file.side)
    switch file.change {
    case .whole(let text): try await recorded(deed) { try await server.upload(try await text.make(), to: file.path) }
    case .edit(_, let edit):
      let change = await asked { () -> String? in
        let old = try await server.download(file.path)
        let new = try edit(old)
        return new.utf8.elementsEqual(old.utf8) ? nil : new
      }
      if case .success(nil) = change { return }
      try await recorded(deed) {
        try await server.replace(file.path, with: try change.get() ?? "")
      }
    }
  }

  /// What says whether there is anything to do, asked once. Where it cannot be asked, that is the deed's failure, and the
  /// journal has it.
  private func asked<Answer>(_ question: () async throws -> Answer) async -> Result<Answer, any Error> {
    do { return .success(try await question()) } catch { return .failure(error) }
  }

  private func perform(_ statement: StatementDeed) async throws {
    do {
      switch statement.session {
      case .kept:
        guard let database = statement.database else {
          return try await run(statement, context.session(statement.side))
        }
        try await context.withSession(statement.side, database: database) { try await run(statement, $0) }
      case .own(let settings):
        try await context.withNewSession(statement.side, database: statement.database) { session in
          for (name, value) in settings.sorted(by: { $0.key < $1.key }) {
            try await session.query("SELECT pg_catalog.set_config($1, $2, false)", [name, value])
          }
          try await run(statement, session)
        }
      }
    } catch let error as PostgresError {
      if let explain = statement.explain { throw try await explain(error) }
      // Who holds on must see it as it is: told to a person, a server that stops has only refused.
      if saysThatAConnectionBroke(error) { throw error }
      throw error.convoyError(at: place(statement))
    }
  }

  private func place(_ statement: StatementDeed) -> ConvoyError.Place {
    guard let database = statement.database else { return context.place(step, statement.side) }
    return context.place(ofDatabase: database)
  }

  private func run(_ statement: StatementDeed, _ session: PostgresSession) async throws {
    guard let patience = statement.patience else { return try await once(statement, session) }
    try await waitUntil(
      within: .seconds(30), interval: .milliseconds(50),
      orThrow: {
        ConvoyError(
          patience.code, "\(patience.name) is still in use", at: .host(context.host(statement.side).name),
          hint: patience.hint)
      }
    ) {
      do {
        try await once(statement, session)
        return true
      } catch let error as PostgresError where error.sqlState == .objectInUse {
        if patience.cutsOff { try await session.query(Self.cuttingOff, [patience.name]) }
        return false
      }
    }
  }

  private static let cuttingOff = """
    SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots
     WHERE slot_name = $1 AND active
    """

  private func once(_ statement: StatementDeed, _ session: PostgresSession) async throws {
    do {
      if statement.isDDL {
        try await session.unseen(statement.text, within: statement.limit)
        return
      }
      let result =
        statement.values.isEmpty && statement.finds == nil
        ? try await session.script(statement.text, within: statement.limit)
        : try await session.query(statement.text, statement.values.map(found.text), within: statement.limit)
      if let key = statement.finds { found[key] = result.first }
    } catch let error as PostgresError where error.sqlState.map(statement.fine.contains) == true {}
  }

  // MARK: the journal

  /// Written down before it begins and when it is over. A journal that cannot be written does not stop a deed half-way.
  private func recorded(_ deed: Deed, _ body: () async throws -> Void) async throws {
    try await context.mayAct()
    let rows = await begin(try await announcement(deed))
    do {
      try await body()
      await end(rows, .done, nil)
    } catch {
      await end(rows, error is CancellationError ? .interrupted : .failed, "\(error)")
      throw error
    }
  }

  /// As a person was told it, or would have been.
  private func announcement(_ deed: Deed) async throws -> [PlannedAction] {
    // What changes in a file was shown; that it did is enough to know here.
    if case .file(let file) = deed {
      return [PlannedAction(host: context.host(file.side).name, .file(old: nil, new: nil), file.path)]
    }
    return try await DeedAnnouncer(context).announce(deed, found)
  }

  private func begin(_ actions: [PlannedAction]) async -> [DeedID] {
    let rows = actions.map { action in
      DeedRow(
        run: context.environment.run, migration: context.migrationName, step: step, isUndo: isUndo, host: action.host,
        kind: action.kind.word, text: action.recorded)
    }
    return
      (try? await context.journal.perform { file throws(ConvoyError) in
        var ids: [DeedID] = []
        for row in rows { ids.append(try file.recordDeed(row)) }
        return ids
      }) ?? []
  }

  private func end(_ rows: [DeedID], _ outcome: DeedOutcome, _ error: String?) async {
    try? await context.journal.perform { file throws(ConvoyError) in
      for row in rows { try file.endDeed(row, outcome: outcome, error: error) }
    }
  }
}

extension PlannedAction.Kind {
  /// What the journal calls it.
  fileprivate var word: String {
    switch self {
    case .command: "command"
    case .sql: "sql"
    case .file: "file"
    case .wait: "wait"
    case .note: "note"
    }
  }
}

extension PlannedAction {
  fileprivate var recorded: String {
    if case .sql(let database) = kind { "\(database): \(text)" } else { text }
  }
}
