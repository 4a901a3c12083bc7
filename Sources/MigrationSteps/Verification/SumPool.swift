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
  private var idle: [PostgresSession] = []
  private let mostIdle = 12

  init(connect: @escaping @Sendable (String) async throws -> PostgresSession) { self.connect = connect }

  func with<Value: Sendable>(
    _ database: String, _ body: @Sendable (PostgresSession) async throws -> Value
  ) async throws -> Value {
    let session = try await take(database)
    do {
      let value = try await body(session)
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
  let connect: @Sendable (String) async throws -> PostgresSession
  /// Called with the number of tables and bytes to come, and with those done.
  let progress: @Sendable (SumProgress) -> Void

  func run(_ databases: [String]) async throws -> [DatabaseSums] {
    let sessions = SumSessions(connect: connect)
    do {
      let sums = try await run(databases, sessions)
      await sessions.close()
      return sums
    } catch {
      await sessions.close()
      throw error
    }
  }

  private struct Part: Sendable {
    var database: Int
    var tables: [TableSum]
    var largeObjects: LargeObjectSums?
  }

  private func run(_ databases: [String], _ sessions: SumSessions) async throws -> [DatabaseSums] {
    let catalogs = try await mapConcurrently(databases, limit: lanes) { database in
      try await sessions.with(database) { session in try await SumQueries(session: session).catalog() }
    }
    let compared = catalogs.map { mode == .off ? [] : $0.tables }
    let units = databases.indices.flatMap { index in
      SumUnit.units(
        database: databases[index], tables: compared[index], largeObjectBytes: catalogs[index].largeObjectBytes
      ).map { (index, $0) }
    }.sorted { $0.1.bytes > $1.1.bytes }
    progress(.toCome(tables: compared.reduce(0) { $0 + $1.count }, bytes: units.reduce(0) { $0 + $1.1.bytes }))
    let parts = try await mapConcurrently(units, limit: lanes) { index, unit in
      try await sessions.with(unit.database) { session in
        let queries = SumQueries(session: session)
        var part = Part(database: index, tables: [])
        part.tables = try await queries.sums(unit.tables.map(\.name), countOnly: mode == .counts)
        if unit.largeObjectBytes != nil { part.largeObjects = try await queries.largeObjects() }
        progress(.done(tables: unit.tables.count, bytes: unit.bytes))
        return part
      }
    }
    return databases.indices.map { index in
      let own = parts.filter { $0.database == index }
      return DatabaseSums(
        database: databases[index], tables: own.flatMap(\.tables), unlogged: catalogs[index].unlogged,
        largeObjects: own.lazy.compactMap(\.largeObjects).first ?? .init())
    }
  }
}

enum SumProgress: Sendable {
  case toCome(tables: Int, bytes: UInt64)
  case done(tables: Int, bytes: UInt64)
}

/// Applies the body to every item, at most `limit` at a time, and keeps the items' order. The first error ends it all.
func mapConcurrently<Item: Sendable, Value: Sendable>(
  _ items: [Item], limit: Int, _ body: @escaping @Sendable (Item) async throws -> Value
) async throws -> [Value] {
  try await withThrowingTaskGroup(of: (Int, Value).self) { group in
    var values = [Value?](repeating: nil, count: items.count)
    for index in items.indices {
      if index >= limit, let (done, value) = try await group.next() { values[done] = value }
      let item = items[index]
      group.addTask { (index, try await body(item)) }
    }
    for try await (done, value) in group { values[done] = value }
    return values.compactMap { $0 }
  }
}
