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
      .edit(side, path) { try HostBasedAuthentication($0).fenced(for: role, note: note).text }
    ]
    deeds += reloading()
    // Listed when nobody comes in any more who could enable one.
    deeds.append(
      .later {
        let enabled = try await subscriptions.enabled()
        guard !enabled.isEmpty else { return [] }
        // A comment to the server, it takes their names before they are disabled.
        return [
          .edit(side, path) { try HostBasedAuthentication($0).fenced(for: role, note: note, disabling: enabled).text }
        ] + subscriptions.disabling(enabled)
      })
    deeds.append(
      .act(
        side, "end every session but those of role \(role), and every login that is half done, until none is left"
      ) { _ in
        try await sweep(context.server(side), context.session(side), deadline: deadline)
      })
    return deeds
  }

  /// Lets everybody in again.
  ///
  /// - Parameter enablingSubscriptions: whether those that the fence has disabled are enabled again; not where another
  ///   server has taken them over.
  package func lifting(enablingSubscriptions: Bool = true) async throws -> [Deed] {
    let path = try await hbaPath()
    let text = try await HBAFile(server: context.server(side), path: path).read()
    // Before the block goes: it is the only record of them.
    var deeds = enablingSubscriptions ? try await subscriptions.enabling(text.disabledSubscriptions) : []
    if text.isFenced { deeds.append(.edit(side, path) { HostBasedAuthentication($0).unfenced.text }) }
    return deeds + reloading()
  }

  /// Has the block say that it stands around a copy which is kept up to date, as before the first cutover.
  package func callingQuarantine() async throws -> [Deed] {
    let (role, note) = (role, Quarantine.note(context))
    return [.edit(side, try await hbaPath()) { try HostBasedAuthentication($0).fenced(for: role, note: note).text }]
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
        let broken = try await context.session(side).query(
          "SELECT line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1")
        guard let row = broken.rows.first else { return }
        throw ConvoyError(
          "fence.broken-hba", "pg_hba.conf line \(row.string(0)): \(row.string(1))", at: place,
          hint: "mend that line; the server would go on with its old rules without a word")
      },
      .statement(reload),
      .aside { found in
        let asked = found[Self.reloaded] ?? ""
        try await waitUntil(
          within: .seconds(10), interval: .milliseconds(50),
          orThrow: {
            ConvoyError("fence.not-reloaded", "the server did not reload its configuration within 10 s", at: place)
          }
        ) {
          // A new backend has the postmaster's own load time.
          try await context.withNewSession(side) { probe in
            try await probe.query("SELECT pg_catalog.pg_conf_load_time() >= $1::timestamptz", [asked]).first == "t"
          }
        }
      },
    ]
  }
}
