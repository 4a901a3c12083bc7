import DatabaseSync
import Journal
import ReplicationModel

/// What operators and verifiers have ordered, on its way between the journal and the workers.
extension SyncSupervisor {
  // MARK: transactions to step over

  func passOnSkips(_ migration: String, to workers: [DatabaseWorker]) async throws {
    let due = try await journal.perform { file throws(ConvoyError) in
      try file.skips(migration: migration, pendingOnly: true)
    }
    for worker in workers {
      worker.stepOver(Set(due.filter { $0.database == worker.assignment.database }.map(\.lsn)))
    }
  }

  /// Writes down what the workers have stepped over, and closes orders that a killed process left open: a worker that
  /// has caught up is past every transaction that could have parked it before.
  func recordSkips() async throws {
    for (migration, convoy) in running {
      for worker in convoy.workers {
        let database = worker.assignment.database
        // In this order: a worker says what it stepped over before it says that it has caught up.
        let hasCaughtUp = worker.snapshot.hasCaughtUp
        let done = worker.takeSteppedOver()
        guard !done.isEmpty || hasCaughtUp && worker.hasOrders else { continue }
        try await journal.perform { file throws(ConvoyError) in
          for order in try file.skips(migration: migration, database: database, pendingOnly: true) {
            if let one = done.first(where: { $0.lsn == order.lsn }) {
              try file.skipDone(order.id, outcome: one.description)
            } else if hasCaughtUp {
              try file.skipDone(order.id, outcome: "the stream went past it; what was left out was not recorded")
            }
          }
        }
        if hasCaughtUp { worker.stepOver([]) }
      }
    }
  }

  // MARK: snapshots for verifiers

  func passOnSnapshots(_ migration: String, to workers: [DatabaseWorker]) async throws {
    let orders = try await journal.perform { file throws(ConvoyError) in
      try file.snapshotOrders(migration: migration)
    }
    for worker in workers {
      let order = orders.first { $0.database == worker.assignment.database }
      worker.orderSnapshot(order.map { SnapshotOrder(id: $0.id, until: $0.until) })
    }
  }

  /// A verifier that is gone does not raise the generation.
  func passOnSnapshots() async throws {
    for (migration, convoy) in running where convoy.workers.contains(where: \.hasSnapshotOrder) {
      try await passOnSnapshots(migration, to: convoy.workers)
    }
  }

  func recordSnapshots() async throws {
    for worker in running.values.flatMap(\.workers) {
      guard let (order, answer) = worker.takeSnapshotAnswer() else { continue }
      try await journal.perform { file throws(ConvoyError) in
        switch answer {
        case .held: try file.answerSnapshot(order, isHeld: true, snapshot: nil, failure: nil)
        case .exported(let snapshot): try file.answerSnapshot(order, isHeld: true, snapshot: snapshot, failure: nil)
        case .failed(let reason): try file.answerSnapshot(order, isHeld: false, snapshot: nil, failure: reason)
        }
      }
    }
  }
}
