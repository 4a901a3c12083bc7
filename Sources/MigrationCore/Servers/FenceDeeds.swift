import HostAdmin
import Inventory
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

extension Fence {
  private static let reloaded = Found<String>("fence.reloaded", placeholder: "")

  /// Keeps everybody out: the block in pg_hba.conf, subscriptions off, and the sweep of those who are in already.
  package func raising(deadline: Duration) async throws -> [Deed] {
    let path = try await hbaPath()
    let (role, note) = (role, note)
    var deeds: [Deed] = [
      // Before anybody is kept out: a server that is full of attempts takes its time to let one more in.
      .aside { _ in try await context.fenceWatch(side).connect() },
      .edit(side, path) { try HostBasedAuthentication($0).fenced(for: role, note: note).text },
    ]
    deeds += reloading()
    // Listed when nobody comes in any more who could enable one.
    deeds.append(
      .later {
        let enabled = try await subscriptions.enabled()
        guard !enabled.isEmpty else { return [] }
        // A comment to the server, it takes their names before they are disabled.
        return [
          .aside { _ in try await context.setFact(.fencedSubscriptions(side), enabled) },
          .edit(side, path) { try HostBasedAuthentication($0).fenced(for: role, note: note, disabling: enabled).text },
        ] + subscriptions.disabling(enabled) + reloading()
      })
    deeds.append(
      .act(
        side, "end every session but those of role \(role), and every login that is half done, until none is left"
      ) { _ in
        let watch = await context.fenceWatch(side)
        try await watch.sweep(within: deadline)
      })
    // Behind the sweep: nobody holds a database's row in pg_database any more.
    deeds.append(.later { try await limits.closing() })
    deeds.append(.aside { _ in await context.fenceWatch(side).begin() })
    return deeds
  }

  /// Lets everybody in again.
  ///
  /// - Parameter enablingSubscriptions: whether those that the fence has disabled are enabled again; not where another
  ///   server has taken them over.
  package func lifting(enablingSubscriptions: Bool = true) async throws -> [Deed] {
    let path = try await hbaPath()
    let text = try await HBAFile(server: context.server(side), path: path).read()
    // Who keeps it closed would put it back.
    var deeds: [Deed] = [.aside { _ in await context.leaveAlone(side) }]
    // Before the block goes: it is the only record of them.
    if enablingSubscriptions { deeds += try await subscriptions.enabling(try await disabled(by: text)) }
    deeds += try await limits.opening()
    if text.isFenced { deeds.append(.edit(side, path) { HostBasedAuthentication($0).unfenced.text }) }
    return deeds + reloading() + [.aside { _ in try await context.removeFact(.fencedSubscriptions(side)) }]
  }

  private func disabled(by text: HostBasedAuthentication) async throws -> [Subscriptions.Name] {
    if text.isFenced { return text.disabledSubscriptions }
    return try await context.fact(.fencedSubscriptions(side)) ?? []
  }

  /// Has the block say that it stands around a copy which is kept up to date, as before the first cutover.
  package func callingQuarantine() async throws -> [Deed] {
    let (role, note) = (role, Quarantine.note(context))
    return [.edit(side, try await hbaPath()) { try HostBasedAuthentication($0).fenced(for: role, note: note).text }]
      + reloading()
  }

  private func hbaPath() async throws -> String {
    try await context.session(side).query("SHOW hba_file").first ?? ""
  }

  /// Has the server read its pg_hba.conf, and makes sure that it has: a broken file "reloads" without an error, and
  /// the postmaster reads it only when it gets to it.
  private func reloading() -> [Deed] {
    var reload = StatementDeed(side, CutoverSQL.reload)
    reload.finds = Self.reloaded
    return [
      .aside { _ in
        try await refuseBrokenFile(context.session(side))
        try await watch()?.willReload()
      },
      .statement(reload),
      .aside { found in
        try await awaitReload(since: found[Self.reloaded] ?? "")
        try await watch()?.hasReloaded()
      },
    ]
  }

  /// Who keeps this side closed in this play, if anybody does by now.
  private func watch() async -> FenceWatch? { await context.companion(side) as? FenceWatch }

  /// The same, for who does it in between.
  func reload(_ session: PostgresSession) async throws {
    try await refuseBrokenFile(session)
    try await awaitReload(since: try await session.query(CutoverSQL.reload).first ?? "")
  }

  private func refuseBrokenFile(_ session: PostgresSession) async throws {
    let broken = try await session.query(
      "SELECT line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1")
    guard let row = broken.rows.first else { return }
    throw ConvoyError(
      "fence.broken-hba", "pg_hba.conf line \(row.string(0)): \(row.string(1))", at: place,
      hint: "mend that line; the server would go on with its old rules without a word")
  }

  /// A backend that the postmaster has forked behind its reload has the postmaster's own load time, from before its own
  /// beginning. (One that was forked before, and has read the settings since, has a later one.)
  private static let isForkedBehind = """
    SELECT pg_catalog.pg_conf_load_time() BETWEEN $1::timestamptz AND backend_start
      FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()
    """

  /// Returns when every connection that begins from now on gets the rules that the postmaster has loaded since.
  private func awaitReload(since asked: String) async throws {
    try await waitUntil(
      within: .seconds(10), interval: .milliseconds(10),
      orThrow: {
        ConvoyError("fence.not-reloaded", "the server did not reload its configuration within 10 s", at: place)
      }
    ) {
      do {
        return try await context.withNewSession(side) { probe in
          try await probe.query(Self.isForkedBehind, [asked]).first == "t"
        }
      } catch let error as ConvoyError where error.code == "postgres.no-connection-left" {
        // Those who are about to be refused may hold every place that the server has for connections.
        return false
      }
    }
  }
}
