import HostAdmin
import Inventory
import PostgresClient
import ReplicationModel

/// A piece of one side's work: tables that are summed in one round trip.
struct SumUnit: Sendable, Equatable {
  var database: String
  var tables: [CatalogTable]
  /// Their size, where the unit looks at large objects too.
  var largeObjectBytes: UInt64?

  var bytes: UInt64 { tables.reduce(largeObjectBytes ?? 0) { $0 + $1.bytes } }

  static let mostTables = 50
  /// Beyond this size a table is a unit of its own, which the server may scan with several processes.
  static let mostBytes: UInt64 = 16 << 20

  /// The database's tables, largest first, small ones together. There is at least one unit: the one that also looks
  /// at large objects.
  static func units(database: String, tables: [CatalogTable], largeObjectBytes: UInt64) -> [SumUnit] {
    let sorted = tables.sorted {
      $0.bytes == $1.bytes
        ? $0.name.catalogBytes.lexicographicallyPrecedes($1.name.catalogBytes) : $0.bytes > $1.bytes
    }
    var units: [SumUnit] = []
    var current = SumUnit(database: database, tables: [])
    for table in sorted {
      let isFull = current.tables.count == mostTables || current.bytes + table.bytes > mostBytes
      if isFull, !current.tables.isEmpty {
        units.append(current)
        current.tables = []
      }
      current.tables.append(table)
    }
    if !current.tables.isEmpty, current.bytes + largeObjectBytes > mostBytes {
      units.append(current)
      current.tables = []
    }
    current.largeObjectBytes = largeObjectBytes
    return units + [current]
  }
}

/// Sessions to one side's databases: as many in use as there are lanes, and a few more that wait to be used again.
actor SumSessions {
  private let connect: @Sendable (String) async throws -> PostgresSession
  /// Whether sessions stand in transactions: then the locks of a piece of work are given up with it, and nobody waits
  /// for them.
  private let isInSnapshot: Bool
  private var idle: [PostgresSession] = []
  private let mostIdle = 12

  init(isInSnapshot: Bool, connect: @escaping @Sendable (String) async throws -> PostgresSession) {
    self.isInSnapshot = isInSnapshot
    self.connect = connect
  }

  func with<Value: Sendable>(
    _ database: String, _ body: @Sendable (PostgresSession) async throws -> Value
  ) async throws -> Value {
    let session = try await take(database)
    do {
      let value = try await body(session)
      if isInSnapshot { try await session.script(SumQueries.backToSavepoint) }
      await giveBack(session)
      return value
    } catch {
      await session.close()
      throw error
    }
  }

  private func take(_ database: String) async throws -> PostgresSession {
    if let index = idle.firstIndex(where: { $0.parameters.database.utf8.elementsEqual(database.utf8) }) {
      return idle.remove(at: index)
    }
    return try await connect(database)
  }

  private func giveBack(_ session: PostgresSession) async {
    idle.append(session)
    if idle.count > mostIdle { await idle.removeFirst().close() }
  }

  func close() async {
    let sessions = idle
    idle = []
    for session in sessions { await session.close() }
  }
}

/// Sums one side: all databases' tables, the largest first, on a few lanes.
struct SideSums: Sendable {
  let mode: SumMode
  let lanes: Int
  /// What a database's first session reads on top of the catalogs; the rest is shared among the lanes.
  var firstBytes: UInt64 = 64 << 20
  var isInSnapshot = false
  /// When reading in full ends; tables that are left over are `unread`.
  var end: ContinuousClock.Instant?
  let connect: @Sendable (String) async throws -> PostgresSession
  /// Called with the number of tables and bytes to come, and with those done.
  let progress: @Sendable (SumProgress) -> Void

  func run(_ databases: [String]) async throws -> [DatabaseSums] {
    let sessions = SumSessions(isInSnapshot: isInSnapshot, connect: connect)
    do {
      let sums = try await run(databases, sessions)
      await sessions.close()
      return sums
    } catch {
      await sessions.close()
      throw error
    }
  }

  /// What one session has read of a database.
  private struct Part: Sendable {
    var tables: [TableSum] = []
    var largeObjects: LargeObjectSums?
    var unread: [CatalogTable] = []

    mutating func add(_ other: Part) {
      tables += other.tables
      largeObjects = largeObjects ?? other.largeObjects
      unread += other.unread
    }
  }

  private struct First: Sendable {
    var unlogged: [RelationName]
    var part = Part()
    var rest: [SumUnit] = []
  }

  /// The small tables of a database are read by the session that lists them: a fleet has many databases with little in
  /// them, and a new session costs more than their content. What is large follows, the largest first.
  private func run(_ databases: [String], _ sessions: SumSessions) async throws -> [DatabaseSums] {
    let firsts = try await mapConcurrently(databases, limit: lanes) { database in
      try await sessions.with(database) { session in try await first(database, session) }
    }
    let rest = firsts.indices.flatMap { index in firsts[index].rest.map { (index, $0) } }
      // With a budget, as many tables as possible in full.
      .sorted { end == nil ? $0.1.bytes > $1.1.bytes : $0.1.bytes < $1.1.bytes }
    let parts = try await mapConcurrently(rest, limit: lanes) { index, unit in
      (index, try await sessions.with(unit.database) { session in try await read(unit, session) })
    }
    var whole = firsts.map(\.part)
    for (index, part) in parts { whole[index].add(part) }
    return databases.indices.map { index in
      var sums = DatabaseSums(
        database: databases[index], tables: whole[index].tables, unlogged: firsts[index].unlogged,
        largeObjects: whole[index].largeObjects ?? .init())
      sums.unread = whole[index].unread
      return sums
    }
  }

  private func first(_ database: String, _ session: PostgresSession) async throws -> First {
    let catalog = try await SumQueries(session: session).catalog()
    let units = SumUnit.units(
      database: database, tables: mode == .off ? [] : catalog.tables, largeObjectBytes: catalog.largeObjectBytes)
    progress(
      .toCome(
        tables: units.reduce(0) { $0 + $1.tables.count }, bytes: units.reduce(0) { $0 + $1.bytes }))
    var first = First(unlogged: catalog.unlogged)
    var bytes: UInt64 = 0
    for unit in units.reversed() {
      bytes += unit.bytes
      if bytes <= firstBytes, unit.bytes <= SumUnit.mostBytes {
        first.part.add(try await read(unit, session))
      } else {
        first.rest.append(unit)
      }
    }
    return first
  }

  private func read(_ unit: SumUnit, _ session: PostgresSession) async throws -> Part {
    let queries = SumQueries(session: session, isInSnapshot: isInSnapshot)
    let began = ContinuousClock.now
    func isDone() {
      progress(.done(unit.database, tables: unit.tables.count, bytes: unit.bytes, time: began.duration(to: .now)))
    }
    var part = Part()
    if unit.largeObjectBytes != nil { part.largeObjects = try await queries.largeObjects() }
    if let end, end <= .now {
      part.unread = unit.tables
      isDone()
      return part
    }
    do {
      part.tables = try await queries.sums(
        unit.tables.map(\.name), countOnly: mode == .counts, within: end.map { max(.zero, $0 - .now) })
    } catch let error as PostgresError where error.reason == .deadline && end != nil {
      part.unread = unit.tables
    }
    isDone()
    return part
  }
}

enum SumProgress: Sendable {
  case toCome(tables: Int, bytes: UInt64)
  case done(_ database: String, tables: Int, bytes: UInt64, time: Duration)
}
