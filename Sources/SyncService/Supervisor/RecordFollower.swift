import Inventory
import Journal
import Logging
import MigrationCore
import MigrationRecord
import ReplicationModel

/// Keeps a sync process's journal in step with the servers' records: what another machine wants is seen here, and a journal
/// that is behind starts nothing.
actor RecordFollower {
  private let contexts: [MigrationContext]
  private let logger: Logger
  private var tasks: [Task<Void, Never>] = []
  private var seen: Set<String> = []
  private var contradictions: [String: String] = [:]

  /// Where changes travel a play may wait for what is wanted now.
  private static let interval = Duration.milliseconds(500)
  private static let idleInterval = Duration.seconds(5)

  init(
    _ migrations: [Inventory.Migration], journal: Journal, environment: RunEnvironment, logger: Logger
  ) {
    contexts = migrations.map { migration in
      MigrationContext(
        migration: migration, journal: journal, environment: environment, logger: logger,
        progress: { line in logger.info("\(line)", metadata: ["migration": "\(migration.name)"]) })
    }
    self.logger = logger
  }

  func start() {
    tasks = contexts.map { context in
      Task { [weak self] in
        while !Task.isCancelled {
          guard let self else { return }
          let isReplicating = await self.look(context)
          try? await Task.sleep(for: isReplicating ? Self.interval : Self.idleInterval)
        }
      }
    }
  }

  func stop() async {
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
    for context in contexts { await context.close() }
  }

  /// Whether the servers were asked about a migration, as far as they could be, and do not contradict the journal.
  func mayRun(_ migration: String) -> Bool { seen.contains(migration) && contradictions[migration] == nil }

  private func look(_ context: MigrationContext) async -> Bool {
    let name = context.migrationName
    do {
      // One on a host is told what the record says by whoever gives it orders.
      let isHosted = try await context.journal.perform { file throws(ConvoyError) in
        try file.followsOrders(migration: name)
      }
      if !isHosted {
        try await context.truth().follow()
        try await context.truth().publishBetweenPlays()
      }
      if contradictions.removeValue(forKey: name) != nil {
        logger.info("the journal and the servers agree again", metadata: ["migration": "\(name)"])
      }
    } catch is CancellationError {
      return false
    } catch {
      let text = "\(error)"
      if contradictions.updateValue(text, forKey: name) != text {
        logger.error("no workers until this is settled: \(text)", metadata: ["migration": "\(name)"])
      }
    }
    seen.insert(name)
    return (try? await context.state().isReplicating) == true
  }
}
