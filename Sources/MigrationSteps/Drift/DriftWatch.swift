import Logging
import ReplicationModel

/// Looks for drift of the schemas while workers run, database after database, for `status` to show.
struct DriftWatch: Sendable {
  let context: MigrationContext
  let databases: [String]
  let logger: Logger
  /// Takes what was found in a database: one line for each object that differs.
  let report: @Sendable (_ database: String, _ differences: [String]) async -> Void

  /// Between two rounds; more where a round takes long, so that looking takes a tenth of the time at most.
  private static let pause = Duration.seconds(3)
  private static let share = 10

  func run() async {
    var known: [String: [String]] = [:]
    while !Task.isCancelled {
      let began = ContinuousClock.now
      for database in databases {
        if Task.isCancelled { return }
        do {
          let differences = try await context.schemaDrift(of: database).differences
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
