public import Presentation
public import ReplicationModel

/// The status as a table: one row per database, a summary below.
public enum StatusTable {
  /// - Returns: lines, each ended by a newline; nothing that a terminal would act on, except colours where asked for.
  public static func render(_ status: ConvoyStatus, style: TextStyle = .plain) -> String {
    var table = TextTable([
      .init(title: "MIGRATION", shrinksTo: 10), .init(title: "DATABASE", shrinksTo: 10), .init(title: "PHASE"),
      .init(title: "LAG", right: true), .init(title: "BEHIND", right: true), .init(title: "TX", right: true),
      .init(title: "ROWS", right: true), .init(title: "ROWS/S", right: true),
      .init(title: "LAST ERROR", shrinksTo: 12),
    ])
    for migration in status.migrations {
      table.rows += migration.databases.map { row($0, of: migration) }
      if migration.databases.isEmpty { table.rows.append(emptyRow(migration)) }
    }
    var lines = table.lines(style)
    lines.append("")
    lines += status.migrations.flatMap { alarms($0, style) }
    lines += status.migrations.compactMap { notice($0, style) }
    lines += status.migrations.compactMap { hosted($0, style) }
    lines += status.migrations.flatMap { migration in migration.databases.compactMap { drift($0, style) } }
    lines += status.migrations.flatMap { migration in migration.databases.compactMap { gone($0, style) } }
    lines.append(summary(status, style))
    return lines.joined(separator: "\n") + "\n"
  }

  private static func row(_ database: DatabaseStatus, of migration: ConvoyStatus.Migration) -> [TextTable.Cell] {
    let counts = database.hasStream
    return [
      .init(migration.name),
      .init(database.database),
      .init(database.phase.rawValue, ink(database.phase)),
      .init(HumanFormat.bytes(database.lagBytes)),
      .init(HumanFormat.duration(seconds: database.lagSeconds)),
      .init(HumanFormat.count(counts ? database.transactionsApplied : nil)),
      .init(HumanFormat.count(counts ? database.rowsApplied : nil)),
      .init(HumanFormat.rate(counts ? database.rowsPerSecond : nil)),
      .init(trouble(database), .red),
    ]
  }

  private static func trouble(_ database: DatabaseStatus) -> String {
    let error = database.lastError ?? ""
    guard let seconds = database.interruptedSeconds else { return error }
    return "for \(HumanFormat.duration(seconds: seconds)): \(error)"
  }

  /// A migration of which no database is known yet.
  private static func emptyRow(_ migration: ConvoyStatus.Migration) -> [TextTable.Cell] {
    let unknown = TextTable.Cell(HumanFormat.unknown)
    return [.init(migration.name), unknown, .init(migration.state.rawValue)]
      + Array(repeating: unknown, count: 5) + [.init("")]
  }

  /// What is out of the ordinary about a migration as a whole; nil for one whose changes go forward from an open source.
  private static func notice(_ migration: ConvoyStatus.Migration, _ style: TextStyle) -> String? {
    let (source, target) = (DisplayText.visible(migration.source), DisplayText.visible(migration.target))
    var parts: [String] = []
    if migration.direction == .reverse { parts.append("changes go back, \(source) ← \(target)") }
    if migration.sourceFenced == true { parts.append("\(source) is fenced") }
    // Before the cutover that is the quarantine.
    if migration.targetFenced == true, migration.direction == .reverse { parts.append("\(target) is fenced") }
    guard !parts.isEmpty else { return nil }
    return style.paint("\(DisplayText.visible(migration.name)): \(parts.joined(separator: "; "))", .yellow)
  }

  /// Where the workers are, if they were put on a host.
  private static func hosted(_ migration: ConvoyStatus.Migration, _ style: TextStyle) -> String? {
    guard let sync = migration.sync else { return nil }
    let place = "\(DisplayText.visible(migration.name)): sync on \(DisplayText.visible(sync.host)) (\(sync.manager))"
    switch sync.running {
    case true?: return "\(place) is running" + (sync.pid.map { " (pid \($0))" } ?? "")
    case false?: return style.paint("\(place) is not running", .yellow)
    case nil: return style.paint("\(place) could not be asked", .yellow)
    }
  }

  /// What must never be.
  private static func alarms(_ migration: ConvoyStatus.Migration, _ style: TextStyle) -> [String] {
    guard let side = migration.sideToBeClosed else { return [] }
    let host = DisplayText.visible(migration.host(side))
    var lines: [String] = []
    if migration.areBothOpen == true {
      lines.append("both open: \(DisplayText.visible(migration.source)) and \(DisplayText.visible(migration.target))")
    }
    if migration.shouldBeClosedAndIsOpen == true { lines.append("\(host) should be closed and is open") }
    if let breach = migration.latestBreach {
      let count = migration.fenceBreaches.map { $0 > 1 ? ", \($0) times" : "" } ?? ""
      lines.append("\(host) was open\(count), last at \(breach.at): \(DisplayText.visible(breach.what))")
    }
    if let commits = migration.closedSideCommits, commits > 0 {
      lines.append("\(HumanFormat.counted(commits, "transaction")) of others on \(host), which should be closed")
    }
    return lines.map { style.paint("\(DisplayText.visible(migration.name)): \($0)", .red) }
  }

  /// What was left out because nobody will ever read it.
  private static func gone(_ database: DatabaseStatus, _ style: TextStyle) -> String? {
    guard let gone = database.goneRows, !gone.isEmpty else { return nil }
    let list = gone.prefix(mostDrift).map {
      "\(DisplayText.visible($0.table)) (\(HumanFormat.counted($0.rows, "row")))"
    }
    let rest = gone.count > mostDrift ? " and \(gone.count - mostDrift) more" : ""
    return "\(DisplayText.visible(database.migration)): database \(DisplayText.visible(database.database)): left out, "
      + "since the table was dropped: \(list.joined(separator: ", "))\(rest)"
  }

  private static let mostDrift = 3

  /// What differs between the schemas of a database.
  private static func drift(_ database: DatabaseStatus, _ style: TextStyle) -> String? {
    guard let drift = database.drift, !drift.isEmpty else { return nil }
    let rest = drift.count > mostDrift ? "; and \(drift.count - mostDrift) more" : ""
    let name = "\(DisplayText.visible(database.migration)): database \(DisplayText.visible(database.database))"
    let objects = drift.prefix(mostDrift).map(DisplayText.visible).joined(separator: "; ")
    return style.paint("\(name): schemas differ: \(objects)\(rest)", .yellow)
  }

  private static func ink(_ phase: DatabasePhase) -> TextStyle.Ink? {
    switch phase {
    case .parked, .unreachable, .interrupted: .red
    case .stopped, .draining: .yellow
    case .streaming, .drained, .cutOver: .green
    case .copying, .handedOff, .catchingUp: .cyan
    case .pending: .dim
    }
  }

  private static func summary(_ status: ConvoyStatus, _ style: TextStyle) -> String {
    let databases = status.migrations.flatMap(\.databases)
    let parked = databases.count { $0.phase == .parked }
    let missed = databases.reduce(UInt64(0)) { $0.addingReportingOverflow($1.missedRows).partialValue }
    var parts = [
      HumanFormat.counted(UInt64(databases.count), "database"),
      "worst lag \(HumanFormat.bytes(databases.compactMap(\.lagBytes).max()))",
      style.paint("\(parked) parked", parked > 0 ? .red : nil),
    ]
    if missed > 0 { parts.append(style.paint(HumanFormat.counted(missed, "missed row"), .red)) }
    // Where every migration's process was put on a host, none here says nothing.
    if !status.sync.running, !status.migrations.isEmpty, status.migrations.allSatisfy({ $0.sync != nil }) {
      return parts.joined(separator: ", ")
    }
    let sync =
      status.sync.running
      ? "sync is running" + (status.sync.pid.map { " (pid \($0))" } ?? "")
      : style.paint("sync is not running", .yellow)
    return (parts + [sync]).joined(separator: ", ")
  }
}

extension DatabaseStatus {
  /// Whether a worker has ever counted for this database; before that its counts say nothing.
  var hasStream: Bool {
    switch phase {
    case .pending, .copying, .handedOff: false
    case .catchingUp, .streaming, .draining, .drained, .interrupted, .unreachable, .parked, .stopped, .cutOver: true
    }
  }
}
