import FoundationEssentials
package import Journal
import Logging
package import MigrationCore
import MigrationRecord
import RemoteHost
import ReplicationModel

/// What plays and the sync process tell each other where the process is on a host: by SSH, through a command there that
/// knows the process's own journal. What runs in between needs nobody on the other side.
extension MigrationContext {
  /// Asks the process on its host for its words, or gives it its orders; both go into this machine's journal. Nil where
  /// the process is on this machine and needs none of it.
  ///
  /// - Throws: `sync.not-there`, `sync.other-version`, `sync.follows-another`, and what SSH says.
  @discardableResult
  package func exchange(_ kind: SyncExchange = .look) async throws -> SyncReport? {
    guard let place = try await syncPlaces().current else { return nil }
    // Who holds the migration on the servers knows the latest, whose orders ever were followed.
    if kind == .order, await truth().holds { return try await exchange(.takeOver, with: place) }
    return try await exchange(kind, with: place)
  }

  /// - Throws: as above.
  @discardableResult
  func exchange(_ kind: SyncExchange, with place: SyncPlace) async throws -> SyncReport {
    let name = migrationName
    for isLast in [false, false, true] {
      let orders = try await journal.perform { file throws(ConvoyError) in try file.syncOrders(migration: name) }
      let report = try await send(SyncMessage(kind, orders), to: place)
      try await journal.perform { file throws(ConvoyError) in try file.takeReport(report, migration: name) }
      switch report.answer {
      case .looked, .followed: return report
      // Another command on this machine was faster.
      case .stale where !isLast: continue
      case .stale, .followsAnother:
        throw ConvoyError(
          "sync.follows-another",
          "the sync process of migration \(name) follows orders of \(report.follows ?? "somebody else")"
            + (report.answer == .stale ? " that are newer than this state directory" : ""),
          at: .host(place.host),
          hint: "give them from there; start_sync takes the process over for this state directory")
      }
    }
    throw CancellationError()
  }

  private func send(_ message: SyncMessage, to place: SyncPlace) async throws -> SyncReport {
    let input = try JSONEncoder().encode(message)
    // What it orders is told by the deed around it.
    let command = RemoteCommand(
      [place.program, "hosted-sync", "exchange", "--state", place.state], standardInput: Array(input),
      deadline: .seconds(60), label: "asking the sync process"
    ).asking
    let result = try await remote(named: place.host).run(command)
    guard result.exitStatus != 127, result.exitStatus != 126 else {
      throw ConvoyError(
        "sync.not-there", "the sync process of migration \(migrationName) is not on its host any more",
        at: .host(place.host), hint: "run the step start_sync again", cause: result.errorText)
    }
    guard result.succeeded else {
      throw ConvoyError(
        "sync.no-answer", "the sync process of migration \(migrationName) cannot be asked: \(lastLine(result))",
        at: .host(place.host), hint: "look at \(place.log) there", cause: result.errorText)
    }
    guard let report = try? JSONDecoder().decode(SyncReport.self, from: Data(result.standardOutput)),
      report.version == SyncOrders.currentVersion
    else {
      throw ConvoyError(
        "sync.other-version", "the sync process of migration \(migrationName) is of another version of pgconvoy",
        at: .host(place.host),
        hint: "move it with the version that put it there, to the workstation say, and back with this one")
    }
    return report
  }

  private nonisolated func lastLine(_ result: CommandResult) -> String {
    result.errorText.split(separator: "\n").first.map(String.init) ?? result.endDescription
  }

  /// Gives the process its orders again and again while something is waited for, and brings back what it says.
  package nonisolated func exchanging<Value: Sendable>(
    _ body: @Sendable () async throws -> Value
  ) async throws -> Value {
    guard try await syncPlaces().current != nil else { return try await body() }
    let pump = Task {
      while !Task.isCancelled {
        do { try await exchange(.order) } catch { logger.debug("no exchange with the sync process: \(error)") }
        try await Task.sleep(for: .milliseconds(100))
      }
    }
    do {
      let value = try await body()
      pump.cancel()
      _ = try? await exchange(.order)
      return value
    } catch {
      pump.cancel()
      _ = try? await exchange(.order)
      throw error
    }
  }
}
