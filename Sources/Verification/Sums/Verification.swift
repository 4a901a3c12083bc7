import BlockingIO
import HostAdmin
package import Inventory
package import MigrationCore
package import Playbook
package import PostgresClient
package import ReplicationModel

/// What is read of every table.
package typealias SumMode = VerifyMode

/// Compares the databases of two servers, table by table, rows and checksums.
///
/// The comparison is exact where both sides stand still, as they do behind a fence and after the drain. For sides that
/// move, `connect` may hand out sessions that are inside a transaction with a snapshot.
package struct Verification: Sendable {
  /// What a comparison of one database found.
  package struct Comparison: Sendable, Equatable {
    package var source: DatabaseSums
    package var target: DatabaseSums

    /// The rows that differ, by their tables' `catalogBytes`, as far as they were looked for.
    package var rows: [[UInt8]: RowDifferences] = [:]

    init(source: DatabaseSums, target: DatabaseSums) {
      self.source = source
      self.target = target
    }

    package var database: String { source.database }
    package var differences: [TableDifference] {
      source.differences(from: target).map { difference in
        var difference = difference
        difference.rows = rows[difference.name.catalogBytes]
        return difference
      }
    }
    var largeObjectsDiffer: Bool { source.largeObjects != target.largeObjects }
  }

  package var mode: SumMode
  /// How long tables are read in full, from the beginning of `run`; those left over are sampled. Nil: all in full.
  package var budget: Duration?
  /// How many sessions read at a time, on each side.
  var lanes = 4
  /// Whether `connect` hands out sessions that stand in a transaction, behind `SumQueries.savepoint`.
  var isInSnapshot = false
  private let connect: @Sendable (Inventory.Side, String) async throws -> PostgresSession
  package let progress: @Sendable (String) -> Void

  /// - Parameters:
  ///   - mode: `off` still compares large objects.
  ///   - connect: a session of canonical text output to one database; it is closed here.
  ///   - progress: takes a line now and then.
  package init(
    mode: SumMode, progress: @escaping @Sendable (String) -> Void = { _ in },
    connect: @escaping @Sendable (Inventory.Side, String) async throws -> PostgresSession
  ) {
    self.mode = mode
    self.progress = progress
    self.connect = connect
  }

  /// With the sessions of a migration.
  package init(_ context: MigrationContext, mode: SumMode) {
    self.init(mode: mode, progress: context.progress) { side, database in
      try await context.newSession(side, database: database)
    }
  }

  /// - Returns: in the order of `databases`.
  /// - Throws: `PostgresError` as a `ConvoyError`.
  package func run(_ databases: [String]) async throws -> [Comparison] { try await timedRun(databases).comparisons }

  /// As `run`, with what was read of each database and how long its busier side read, pauses between pieces left out.
  package func timedRun(_ databases: [String]) async throws -> (comparisons: [Comparison], records: [DatabaseRecord]) {
    let meter = ProgressMeter(report: progress)
    let end = mode == .full ? budget.map { ContinuousClock.now + $0 } : nil
    async let source = sums(.source, databases, meter, end)
    async let target = sums(.target, databases, meter, end)
    let comparisons = try await zip(source, target).map { Comparison(source: $0, target: $1) }
    do {
      return (try await sampleUnread(comparisons), databases.map(meter.record))
    } catch let error as PostgresError {
      throw error.convoyError()
    }
  }

  /// Looks for the rows that differ, in the first tables that do. It never makes a comparison fail: a table whose rows
  /// cannot be compared, or whose turn does not come in time, stays without.
  ///
  /// - Parameters:
  ///   - tables: how many are looked at, of all databases together.
  ///   - limit: how long that may take. Each table is read at least twice more on both sides.
  package func narrowDown(
    _ comparisons: [Comparison], _ direction: StreamDirection = .forward, tables: Int = 20, within limit: Duration
  ) async -> [Comparison] {
    let end = ContinuousClock.now + limit
    let wanted = comparisons.indices.flatMap { index in
      comparisons[index].differences.filter { $0.source != nil && $0.target != nil }.map { (index, $0) }
    }
    let found = try? await mapConcurrently(Array(wanted.prefix(tables)), limit: lanes) { index, difference in
      (index, difference.name, try? await rows(difference, comparisons[index].database, direction, until: end))
    }
    var narrowed = comparisons
    for (index, name, rows) in found ?? [] {
      guard let rows = rows ?? nil else { continue }
      narrowed[index].rows[name.catalogBytes] = rows
      if rows.count > 0 {
        progress("database \(narrowed[index].database), table \(name): \(rows.description())")
      }
    }
    return narrowed
  }

  private func rows(
    _ difference: TableDifference, _ database: String, _ direction: StreamDirection, until end: ContinuousClock.Instant
  ) async throws -> RowDifferences? {
    guard end > .now else { return nil }
    let rows = max(difference.source?.rows ?? 0, difference.target?.rows ?? 0)
    return try await with(direction.from, database) { from in
      try await with(direction.to, database) { to in
        try await NarrowingDown(source: from, target: to, end: end, isInSnapshot: isInSnapshot)
          .run(difference.name, rows: rows)
      }
    }
  }

  package func with<Value: Sendable>(
    _ side: Inventory.Side, _ database: String, _ body: (PostgresSession) async throws -> Value
  ) async throws -> Value {
    let session = try await open(side, database)
    do {
      let value = try await body(session)
      await session.close()
      return value
    } catch {
      await session.close()
      throw error
    }
  }

  private func open(_ side: Inventory.Side, _ database: String) async throws -> PostgresSession {
    let session = try await connect(side, database)
    do {
      try await session.script(SumQueries.settings)
      return session
    } catch {
      await session.close()
      throw error
    }
  }

  private func sums(
    _ side: Inventory.Side, _ databases: [String], _ meter: ProgressMeter, _ end: ContinuousClock.Instant?
  ) async throws -> [DatabaseSums] {
    let sums = SideSums(mode: mode, lanes: lanes, isInSnapshot: isInSnapshot, end: end) { database in
      try await open(side, database)
    } progress: {
      meter.note($0, side)
    }
    do {
      return try await sums.run(databases)
    } catch let error as PostgresError {
      throw error.convoyError()
    }
  }
}

/// Turns finished units into a line every other second. `@unchecked Sendable`: every access to the counts is made with
/// `lock` locked.
private final class ProgressMeter: @unchecked Sendable {
  private let lock = ConditionVariable()
  private let report: @Sendable (String) -> Void
  private var tables = (done: 0, all: 0)
  private var bytes: (done: UInt64, all: UInt64) = (0, 0)
  private var last = ContinuousClock.now
  private var read: [Inventory.Side: [String: (bytes: UInt64, time: Duration)]] = [:]

  init(report: @escaping @Sendable (String) -> Void) { self.report = report }

  func record(_ database: String) -> DatabaseRecord {
    lock.withLock {
      let sides = Inventory.Side.allCases.compactMap { read[$0]?[database] }
      return DatabaseRecord(
        database, duration: sides.map(\.time).max(), bytes: sides.isEmpty ? nil : sides.reduce(0) { $0 + $1.bytes })
    }
  }

  func note(_ progress: SumProgress, _ side: Inventory.Side) {
    let line: String? = lock.withLock {
      switch progress {
      case .toCome(let count, let size):
        tables.all += count
        bytes.all += size
      case .done(let database, let count, let size, let time):
        tables.done += count
        bytes.done += size
        var sum = read[side]?[database] ?? (0, .zero)
        sum = (sum.bytes + size, sum.time + time)
        read[side, default: [:]][database] = sum
      }
      guard ContinuousClock.now - last > .seconds(2), tables.all > 0 else { return nil }
      last = .now
      // Both sides count; a reader thinks of a table as one.
      return "compared \(tables.done / 2) of \(tables.all / 2) tables, "
        + "\(bytes.done >> 20) of \(bytes.all >> 20) MB read"
    }
    if let line { report(line) }
  }
}
