import Lab
import ReplicationModel
import TestSupport
import Testing

/// Compares what was announced with what was done.
struct AnnouncedIsDone {
  /// Every difference that is none, and why.
  private enum Exception {
    /// Whom the fence finds on its way in is not known beforehand: a login that is half done, a session, …
    static let sweep = [": kill -TERM ", "pg_terminate_backend"]
    /// Workers move their slots on at any time; in the journal, which is the play's alone, every advance is compared.
    static let workers = "pg_replication_slot_advance"
    /// What is worth an ANALYZE is known when it is time; autovacuum may come before.
    static let analyze = "ANALYZE (SKIP_LOCKED)"

    /// Seen on a host or its server.
    static func seen(_ doing: Doing) -> Bool {
      sweep.contains { doing.text.contains($0) } || doing.text.contains(workers) || doing.text.hasPrefix(analyze)
    }

    /// A sync process that has ended meanwhile, since nothing was left to stream, is started by whoever needs one; its
    /// command belongs to no step but `start_sync`.
    static func journal(_ doing: Doing, _ startsSync: Bool) -> Bool {
      doing.text.hasPrefix(analyze) || !startsSync && doing.kind == "command" && doing.step == "start_sync"
    }

    /// What a reader should know besides: nothing is done.
    private static let remarks = [
      "pg_basebackup makes the physical slot", "the run compares the large objects", "the values are those of now",
      "cutover.copy_unlogged is off", "keep /", "compare database ",
    ]

    static func isRemark(_ doing: Doing) -> Bool {
      guard doing.kind == "note" else { return false }
      if doing.step == "preflight" { return !doing.text.hasPrefix("makes ") }
      return remarks.contains { doing.text.hasPrefix($0) }
    }
  }

  let scenario: Scenario

  /// Announces a playbook, plays it, and compares the two.
  ///
  /// - Returns: what was announced.
  @discardableResult
  func expect(_ playbook: String, _ what: String) async throws -> Doings {
    let announced = try await scenario.announced(playbook)
    expectSame(announced, try await scenario.played(playbook), what)
    return announced
  }

  func expectSame(_ announced: Doings, _ played: PlayedDoings, _ what: String) {
    for host in [scenario.source.name, scenario.target.name] {
      let (told, seen) = (kept(announced, but: Exception.seen), kept(played.seen, but: Exception.seen))
      expectSame(told.deeds(host), seen.deeds(host), "\(what), \(host)")
      expectSame(told.statements(host), seen.statements(host), "\(what), \(host), its server")
    }
    let startsSync = announced.all.contains { $0.step == "start_sync" }
    let told = kept(announced) { Exception.isRemark($0) || Exception.journal($0, startsSync) }
    let written = kept(played.journal) { Exception.journal($0, startsSync) }
    for host in ["", scenario.source.name, scenario.target.name] {
      let place = "\(what), the journal, \(host.isEmpty ? "this machine" : host)"
      expectSame(inOrder(told, host), inOrder(written, host), place)
      for database in Set(told.all.map(\.database) + written.all.map(\.database)).sorted() where !database.isEmpty {
        func own(_ doings: Doings) -> [String] {
          doings.all.filter { $0.host == host && $0.database == database }.map(\.description)
        }
        expectSame(own(told), own(written), "\(place), database \(database)")
      }
    }
  }

  private func kept(_ doings: Doings, but isExcepted: (Doing) -> Bool) -> Doings {
    Doings(all: doings.all.filter { !isExcepted($0) }, texts: doings.texts, output: doings.output)
  }

  /// A host's deeds in order. What databases have done at the same time has none: statements in a row, or notes.
  private func inOrder(_ doings: Doings, _ host: String) -> [String] {
    var result: [String] = []
    var row: [Doing] = []
    func endRow() {
      result += row.map(\.description).sorted()
      row = []
    }
    for doing in doings.all where doing.host == host {
      if let last = row.last, last.kind != doing.kind || last.step != doing.step { endRow() }
      if ["sql", "note"].contains(doing.kind) {
        row.append(doing)
      } else {
        endRow()
        result.append(doing.description)
      }
    }
    endRow()
    return result
  }

  /// Names the first difference.
  private func expectSame(_ announced: [String], _ done: [String], _ what: String) {
    for index in 0..<max(announced.count, done.count) {
      let pair = (
        index < announced.count ? announced[index] : "nothing", index < done.count ? done[index] : "nothing"
      )
      guard pair.0 != pair.1 else { continue }
      Issue.record("\(what), number \(index + 1): announced \(pair.0), done \(pair.1)")
      return
    }
  }
}
