import HostAdmin
import Inventory
import MigrationCore
import Playbook
import PostgresClient
import Preflight
import RemoteHost
import ReplicationModel

/// `prepare_source`: the role, the settings and the entry in pg_hba.conf that a migration needs on its source.
///
/// What was there before is recorded first, so that it can be taken back: by `undo`, and by whatever finishes the
/// migration. The server is restarted only where the inventory allows it.
struct PrepareSourceStep: DeedStep {
  var name: String { "prepare_source" }
  var sides: [Side] { [.source] }

  /// One phrase for each thing that was done.
  private let done = Found<[String]>("prepare_source.done", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool {
    // Once the copy is under way, what it needed was there.
    if try await context.copyState().hasBegunToCopy { return true }
    guard try await !isRestarting(context) else { return false }
    guard try await SourceRole.lacking(context) == nil else { return false }
    return try await SourcePreparation.find(context).isComplete
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    guard try await isRestarting(context) else { return try await role(context) }
    return try await restarting(context) + [
      .note(
        .source, "an earlier run ended while it restarted PostgreSQL; what else the source lacks is known then"),
      .later(announced: { [] }) { _ in try await role(context) },
    ]
  }

  private func role(_ context: MigrationContext) async throws -> [Deed] {
    guard let role = try await SourceRole.lacking(context) else { return try await settings(context) }
    let database = context.migration.source.postgres.maintenanceDatabase
    return [
      .procedure(
        Procedure(kind: .statement(database: database), side: .source, text: role.announcement) { found in
          try await role.apply(context)
          found[done] = (found[done] ?? []) + [role.summary]
        }),
      .note(.source, "what else the source lacks is known once that role gets in"),
      .later(announced: { [] }) { _ in try await settings(context) },
    ]
  }

  private func settings(_ context: MigrationContext) async throws -> [Deed] {
    let preparation = try await SourcePreparation.find(context)
    let deeds =
      try await preparation.applying(context) + [
        .aside { found in found[done] = (found[done] ?? []) + [preparation.summary] }
      ]
    guard preparation.needsRestart else { return deeds }
    guard context.migration.allowRestart.contains(.source) else {
      return deeds + [
        .note(
          .source,
          "PostgreSQL needs a restart for this, which the inventory does not allow: the step stops there"),
        .aside { _ in
          throw ConvoyError(
            "source.restart-needed",
            "the settings are in place, and PostgreSQL on \(context.host(.source).name) needs a restart for them",
            at: context.place(name, .source),
            hint: "restart it when it suits, or allow it with 'allow_restart: [source]'; then run the playbook again")
        },
      ]
    }
    return try await deeds + restarting(context) + [.aside { found in found[done]?.append("restarted") }]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, (found[done] ?? []).joined(separator: ", "))
  }

  /// Whether an earlier run has ended while it restarted the server, which may be down since then.
  private func isRestarting(_ context: MigrationContext) async throws -> Bool {
    try await context.fact(.sourceRestart) != nil
  }

  /// From the beginning again where it has been broken off: the server may be on its way down, or up.
  private func restarting(_ context: MigrationContext) async throws -> [Deed] {
    let server = try await context.server(.source)
    let isAllowed = context.migration.allowRestart.contains(.source)
    let stops = isAllowed ? try await server.isRunning() : false
    return [
      .say("restarting PostgreSQL on \(server.host.name)"),
      .aside { _ in
        try await context.setFact(
          .sourceRestart,
          ServerDirectories(data: server.dataDirectory, programs: server.binDirectory, configFile: server.configFile))
      },
    ] + (stops ? [.server(.source, .stop)] : []) + [
      .server(.source, .start),
      .aside { _ in try await context.removeFact(.sourceRestart) },
    ]
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    // Slots and the copy need what it has set, wherever they are.
    if try await context.copyState().hasCopyInPlace { return nil }
    if try await isRestarting(context) {
      try await DeedPerformer(context, step: name, isUndo: true).perform(restarting(context))
    }
    var deeds = try await SourceRole.lacking(context) == nil ? await SourcePreparation.takingBack(context) : []
    var undone = try await SourceRole.lacking(context) == nil ? await SourcePreparation.left(context) : []
    if let role = try await SourceRole.takingBack(context) {
      deeds.append(role.deed)
      undone.append(role.words)
    }
    return Undoing(undone.isEmpty ? nil : "took back: " + undone.joined(separator: ", "), deeds)
  }
}

extension FactKey<[SourcePreparation.Change]> {
  /// Settings of the source that were changed for the migration.
  static var sourceSettings: Self { Self("source_settings") }
}

/// What the source lacks.
struct SourcePreparation {
  /// A setting and what stood for it in postgresql.auto.conf before; nil: nothing.
  struct Change: Codable, Sendable, Equatable {
    var name: String
    var value: String
    var before: String?

    var statement: String { Self.statement(name, value) }
    var backStatement: String { before.map { Self.statement(name, $0) } ?? "ALTER SYSTEM RESET \(name)" }

    private static func statement(_ name: String, _ value: String) -> String {
      "ALTER SYSTEM SET \(name) = \(quotedLiteral(value))"
    }
  }

  /// An entry in pg_hba.conf that is not there yet.
  struct Access: Sendable {
    var path: String
    var block: String

    /// The whole file with it.
    func added(to text: String) -> String { block + SourcePreparation.withoutBlock(text) }
  }

  static let reload = "SELECT pg_catalog.pg_reload_conf()"

  /// Not in postgresql.auto.conf yet.
  var changes: [Change]
  var access: Access?
  /// The running server has not taken one of the settings.
  var needsRestart: Bool

  var isComplete: Bool { changes.isEmpty && access == nil && !needsRestart }

  var summary: String {
    var parts = changes.map { "\($0.name) = \($0.value)" }
    if access != nil { parts.append("an entry in pg_hba.conf") }
    return parts.isEmpty ? "nothing to set" : "set " + parts.joined(separator: ", ")
  }

  // MARK: looking

  static func find(_ context: MigrationContext) async throws -> SourcePreparation {
    let session = try await context.session(.source)
    let databases = try await context.selectedDatabases().count
    let row = try await session.query(
      """
      SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots),
             (SELECT count(*) FROM pg_catalog.pg_stat_replication)
      """
    ).rows[0]
    // A slot and a walsender for each database, two copies of the slot to read a deep backlog with, and the base
    // backup's own.
    let minimums = [
      ("max_replication_slots", (row.int(0) ?? 0) + 3 * databases + 1),
      ("max_wal_senders", (row.int(1) ?? 0) + databases + 2),
    ]
    let running = try await session.query(
      """
      SELECT name, setting FROM pg_catalog.pg_settings
       WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders')
      """)
    let written = try await session.query(
      """
      SELECT name, setting, sourcefile ~ '/postgresql\\.auto\\.conf$' FROM pg_catalog.pg_file_settings
       WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders') ORDER BY seqno
      """)
    func runs(_ name: String) -> String { running.rows.first { $0.string(0) == name }?.string(1) ?? "" }
    func own(_ name: String) -> String? {
      written.rows.last { $0.string(0) == name && $0.bool(2) }.map { $0.string(1) }
    }
    /// What the next start will find.
    func next(_ name: String) -> String {
      written.rows.last { $0.string(0) == name }.map { $0.string(1) } ?? runs(name)
    }
    var changes: [Change] = []
    var needsRestart = false
    func want(_ name: String, _ value: String, _ isEnough: (String) -> Bool) {
      if !isEnough(next(name)) { changes.append(Change(name: name, value: value, before: own(name))) }
      if !isEnough(runs(name)) { needsRestart = true }
    }
    want("wal_level", "logical") { $0 == "logical" }
    for (name, minimum) in minimums { want(name, String(minimum)) { Int($0) ?? 0 >= minimum } }
    return SourcePreparation(changes: changes, access: try await access(context, session), needsRestart: needsRestart)
  }

  // MARK: pg_hba.conf

  private static let beginMark = "# pgconvoy access begin"
  private static let endMark = "# pgconvoy access end"

  /// Nil when the target gets in already.
  private static func access(_ context: MigrationContext, _ session: PostgresSession) async throws -> Access? {
    guard let refusal = try await refusal(context) else { return nil }
    let server = try await context.server(.source)
    let path = try await session.query("SHOW hba_file").first ?? "pg_hba.conf"
    let role = quotedIdentifier(context.migration.source.postgres.user)
    let method = try await session.query("SHOW password_encryption").first ?? "scram-sha-256"
    var lines = ["\(beginMark): migration \(context.migrationName), taken away when it is finished"]
    // As the source sees the target, which may be another address than ours: the refusal names it.
    let seen = refusedAddress(refusal).map { [$0] }
    let addresses = if let seen { seen } else { try await addresses(context, server) }
    for address in addresses {
      let range = address.contains(":") ? "\(address)/128" : "\(address)/32"
      lines += ["host replication \(role) \(range) \(method)", "host all \(role) \(range) \(method)"]
    }
    let access = Access(path: path, block: (lines + [endMark]).joined(separator: "\n") + "\n")
    let text = try await server.download(path)
    return access.added(to: text) == text ? nil : access
  }

  /// What the source says when its pg_hba.conf keeps the target from replicating; nil when it does not. Every other
  /// reason is the preflight's matter.
  private static func refusal(_ context: MigrationContext) async throws -> String? {
    let target = try await context.server(.target)
    var environment = ["PGPASSFILE": "/nonexistent", "PGCONNECT_TIMEOUT": "10"]
    if let password = try await context.session(.source).passwordInUse() { environment["PGPASSWORD"] = password }
    let connection = Quarantine.connectionString(
      context.migration.source.replicationKeywords + [("replication", "true")])
    let result = try await target.remote.run(
      RemoteCommand(
        [target.program("psql"), "-X", "-w", "-A", "-t", "-d", connection, "-c", "IDENTIFY_SYSTEM"],
        environment: environment, user: target.user, deadline: .seconds(30), label: "psql"
      ).connecting.asking)
    return !result.succeeded && result.errorText.contains("pg_hba.conf") ? result.errorText : nil
  }

  /// `… no pg_hba.conf entry for replication connection from host "10.0.1.20", user …`
  static func refusedAddress(_ message: String) -> String? {
    message.contains("pg_hba.conf") ? ReplicationRefusal.address(in: message) : nil
  }

  /// The target's addresses as the source knows them.
  private static func addresses(_ context: MigrationContext, _ server: ServerControl) async throws -> [String] {
    let name = context.migration.target.address
    let text = try await server.ask(
      "getent ahosts \"$1\" | cut -d' ' -f1 | sort -u", [name], label: "looking up \(name)")
    let found = text.split(separator: "\n").map(String.init)
    guard !found.isEmpty else {
      throw ConvoyError(
        "source.unknown-target", "the source does not know the name \(name)",
        at: context.place("prepare_source", .source), hint: "write the target's address into the inventory")
    }
    return found
  }

  static func withoutBlock(_ text: String) -> String {
    var kept: [String] = []
    var isInside = false
    // By scalars: to `String` a carriage return and a newline are one character, which no newline matches.
    for line in text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
      if line.hasPrefix(beginMark) { isInside = true }
      if !isInside { kept.append(line) }
      if line.hasPrefix(endMark) { isInside = false }
    }
    return kept.joined(separator: "\n")
  }

  // MARK: doing and taking back

  func applying(_ context: MigrationContext) async throws -> [Deed] {
    var deeds: [Deed] = []
    if !changes.isEmpty {
      deeds.append(
        .aside { _ in
          // What an earlier run has recorded is what was there before either of them.
          let known = try await context.fact(.sourceSettings) ?? []
          try await context.setFact(
            .sourceSettings, known + changes.filter { change in !known.contains { $0.name == change.name } })
        })
      deeds += changes.map { .sql(.source, $0.statement) }
    }
    if let access {
      deeds += [
        .edit(.source, access.path) { access.added(to: $0) },
        .aside { _ in try await checkAccess(context, access) },
      ]
    }
    return deeds.isEmpty ? [] : deeds + [.sql(.source, Self.reload)]
  }

  private func checkAccess(_ context: MigrationContext, _ access: Access) async throws {
    let broken = try await context.session(.source).query(
      "SELECT line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1")
    guard let row = broken.rows.first else { return }
    try await DeedPerformer(context, step: "prepare_source", isUndo: true)
      .perform([.edit(.source, access.path) { Self.withoutBlock($0) }])
    throw ConvoyError(
      "source.broken-hba", "pg_hba.conf line \(row.string(0)): \(row.string(1))",
      at: context.place("prepare_source", .source), hint: "mend that line; the file is as it was")
  }

  /// What has been done and nobody has taken back, one phrase each.
  static func left(_ context: MigrationContext) async throws -> [String] {
    var found = (try await context.fact(.sourceSettings) ?? []).map { "setting \($0.name)" }
    let path = try await context.session(.source).query("SHOW hba_file").first ?? "pg_hba.conf"
    let text = try await context.server(.source).download(path)
    if withoutBlock(text) != text { found.append("pgconvoy's entry in pg_hba.conf") }
    return found
  }

  /// Takes back what has been done, at whatever time: the settings' old values come into force at the next restart.
  static func takingBack(_ context: MigrationContext) async throws -> [Deed] {
    let changes = try await context.fact(.sourceSettings) ?? []
    let path = try await context.session(.source).query("SHOW hba_file").first ?? "pg_hba.conf"
    let text = try await context.server(.source).download(path)
    var deeds: [Deed] = changes.map { .sql(.source, $0.backStatement) }
    if withoutBlock(text) != text { deeds.append(.edit(.source, path) { withoutBlock($0) }) }
    guard !deeds.isEmpty else { return [] }
    var undone = changes.map { "\($0.name) as it was before" }
    if withoutBlock(text) != text { undone.append("the entry in pg_hba.conf removed") }
    return deeds + [
      .sql(.source, reload),
      .aside { _ in try await context.removeFact(.sourceSettings) },
      .say("took the preparation back: " + undone.joined(separator: ", ")),
    ]
  }
}
