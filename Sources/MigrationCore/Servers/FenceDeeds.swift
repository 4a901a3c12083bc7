import HostAdmin
import Inventory
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

extension Fence {
  /// Keeps everybody out: the block in pg_hba.conf, subscriptions off, and the sweep of those who are in already.
  package func raising(deadline: Duration) async throws -> [Deed] {
    let path = try await hbaPath()
    let (role, note) = (try await hbaRole(), note)
    var deeds: [Deed] = [
      // Before anybody is kept out: a server that is full of attempts takes its time to let one more in.
      .aside { _ in
        try await context.fenceWatch(side).connect()
        try await refuseBrokenFile(context.session(side))
      },
      .edit(side, path) { try HostBasedAuthentication($0, path: path).fenced(for: role, note: note).text },
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
          .edit(side, path) {
            try HostBasedAuthentication($0, path: path).fenced(for: role, note: note, disabling: enabled).text
          },
        ] + subscriptions.disabling(enabled) + reloading()
      })
    deeds.append(
      .act(
        side, "end every session but those of role \(role.name), and every login that is half done, until none is left"
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
  /// Each part of it is done whatever becomes of the others, since what has failed may be why it is lifted; the first
  /// error is thrown behind all of them. A server that lets nobody in any more, not even pgconvoy, has the block taken
  /// out and is told to reload by its host.
  ///
  /// - Parameter enablingSubscriptions: whether those that the fence has disabled are enabled again; not where another
  ///   server has taken them over.
  package func lifting(enablingSubscriptions: Bool = true) async throws -> [Deed] {
    // Who keeps it closed would put it back.
    let leaving: Deed = .aside { _ in await context.leaveAlone(side) }
    let server = try await context.server(side)
    let session: PostgresSession
    do { session = try await context.session(side) } catch {
      context.progress("lifting the fence of \(server.host.name) from its host, since \(error)".oneLine)
      // With the block out of the way pgconvoy may get in again, and the rest be done.
      var parts = [try await liftingFromHost(server), [.later { try await limits.opening() }]]
      if enablingSubscriptions {
        parts.append([
          .later { try await subscriptions.enabling(try await context.fact(.fencedSubscriptions(side)) ?? []) }
        ])
      }
      return [leaving, .each(parts + [[.aside { _ in throw error }]])]
    }
    let path = try await hbaPath(session)
    let text = try await HBAFile(server: server, path: path).read()
    var parts: [[Deed]] = []
    // Before the block goes: it is the only record of them.
    if enablingSubscriptions {
      parts.append([
        .later { try await subscriptions.enabling(try await disabled(by: text)) },
        .aside { _ in try await context.removeFact(.fencedSubscriptions(side)) },
      ])
    }
    parts.append([.later { try await limits.opening() }])
    let taking: [Deed] = [
      .aside { _ in if let proof = text.proof { try? await context.setFact(.liftedProof(side), proof) } },
      .edit(side, path) { HostBasedAuthentication($0).unfenced.text },
    ]
    parts.append(
      (text.isFenced ? taking : []) + [.sql(side, CutoverSQL.reload), .aside { _ in try await checkLifted() }])
    return [leaving, .each(parts)]
      + (enablingSubscriptions ? [] : [.aside { _ in try await context.removeFact(.fencedSubscriptions(side)) }])
  }

  /// By the server's files alone.
  private func liftingFromHost(_ server: ServerControl) async throws -> [Deed] {
    let inside = server.dataDirectory + "/pg_hba.conf"
    let found = (try? await ConfigurationFiles.find(server)).flatMap(\.self)?.hba
    let path = found.map { $0.hasPrefix("/") ? $0 : "\(server.dataDirectory)/\($0)" } ?? inside
    let text = try await HBAFile(server: server, path: path).read()
    guard text.isFenced else { return [] }
    return [
      .aside { _ in try await context.setFact(.fencedSubscriptions(side), text.disabledSubscriptions) },
      .edit(side, path) { HostBasedAuthentication($0).unfenced.text },
      .command(
        side,
        server.command(
          "\"$1\" reload -D \"$2\"", [server.program("pg_ctl"), server.dataDirectory],
          label: "having PostgreSQL read pg_hba.conf")),
    ]
  }

  private func disabled(by text: HostBasedAuthentication) async throws -> [Subscriptions.Name] {
    if text.isFenced { return text.disabledSubscriptions }
    return try await context.fact(.fencedSubscriptions(side)) ?? []
  }

  /// Has the block say that it stands around a copy which is kept up to date, as before the first cutover.
  package func callingQuarantine() async throws -> [Deed] {
    let path = try await hbaPath()
    let (role, note) = (try await hbaRole(), Quarantine.note(context))
    return [.edit(side, path) { try HostBasedAuthentication($0, path: path).fenced(for: role, note: note).text }]
      + reloading()
  }

  /// Has the server read its pg_hba.conf with the block in it, and makes sure that it has: a broken file "reloads" without
  /// an error.
  private func reloading() -> [Deed] {
    [
      .aside { _ in
        try await refuseBrokenFile(context.session(side))
        try await watch()?.willReload()
      },
      .sql(side, CutoverSQL.reload),
      .aside { _ in
        try await awaitFenced()
        try await watch()?.hasReloaded()
      },
    ]
  }

  /// Who keeps this side closed in this play, if anybody does by now.
  private func watch() async -> FenceWatch? { await context.companion(side) as? FenceWatch }
}
