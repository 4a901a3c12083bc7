import Logging
import MigrationCore
import ReplicationModel

/// Looks for drift of the schemas while workers run, database after database, for `status` to show.
struct DriftWatch: Sendable {
  let context: MigrationContext
  let databases: [String]
  let logger: Logger
  /// How far a database's worker is, where a difference may be on its way; nil where none is.
  let progress: @Sendable (_ database: String) async -> LSN?
  /// Takes what was found in a database: one line for each object that differs.
  let report: @Sendable (_ database: String, _ differences: [String]) async -> Void

  /// Between two rounds; more where a round takes long, so that looking takes a tenth of the time at most.
  private static let pause = Duration.seconds(3)
  private static let share = 10

  /// What differed, and where the source's WAL ended then.
  private struct Suspects {
    var differences: [String]
    var seen: LSN
  }

  /// What differs; without what the stream has yet to bring, where it carries DDL.
  private func standing(in database: String, _ suspects: inout Suspects?) async throws -> [String] {
    let applied = await progress(database)
    let differences = try await context.schemaDrift(of: database).differences
    guard let applied, !differences.isEmpty else {
      suspects = nil
      return differences
    }
    let before = suspects
    if before == nil || before.map({ applied >= $0.seen }) == true {
      suspects = Suspects(differences: differences, seen: try await context.sourceEnd(database))
    }
    guard let before, applied >= before.seen else { return [] }
    return differences.filter(before.differences.contains)
  }

  func run() async {
    var known: [String: [String]] = [:]
    var suspects: [String: Suspects] = [:]
    while !Task.isCancelled {
      let began = ContinuousClock.now
      for database in databases {
        if Task.isCancelled { return }
        do {
          let differences = try await standing(in: database, &suspects[database])
          if known[database] ?? [] != differences {
            logger.warning(
              "the schemas of both sides \(differences.isEmpty ? "are the same again" : "differ")",
              metadata: ["database": "\(database)", "differences": "\(few(differences, separator: "; "))"])
          }
          known[database] = differences
          await report(database, differences)
        } catch {
          logger.debug("schemas were not compared", metadata: ["database": "\(database)", "reason": "\(error)"])
        }
      }
      let pause = max(Self.pause, (ContinuousClock.now - began) * Self.share)
      try? await Task.sleep(for: pause)
    }
  }
}
