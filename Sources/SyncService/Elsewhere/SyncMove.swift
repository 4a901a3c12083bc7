import FoundationEssentials
import HostAdmin
import Inventory
import Journal
package import MigrationCore
import RemoteHost
import ReplicationModel

/// The way of a migration's sync process to where the inventory wants it. The new place is made and tried first; then the
/// old one ends and is seen to have gone; only then the new one begins. Noted at each turn, so that it goes on wherever it
/// was cut off.
package struct SyncMove: Sendable {
  let context: MigrationContext
  package let from: SyncPlaces
  /// Nil: this machine.
  package let to: SyncPlace?
  /// A host that will not come back: nothing is asked of it.
  let gone: String?
  /// What is not at the new place yet.
  let missing: [HostedFile]
  /// Whether some of it is: another state directory may have put a process there.
  let isPartlyThere: Bool

  package init(_ context: MigrationContext, gone: String?) async throws {
    self.context = context
    self.gone = gone
    from = try await context.syncPlaces()
    to = try await context.wantedSyncPlace()
    guard let to else {
      (missing, isPartlyThere) = ([], false)
      return
    }
    let bundle = SyncBundle(context: context, place: to)
    // Before the hand-off nothing has the nonce, and the target may not answer.
    missing = try await context.record()?.handOff?.targetTimeline == nil ? bundle.files() : bundle.missing()
    isPartlyThere = missing.count < bundle.files().count
  }

  /// To no place: what is there is only taken away.
  private init(_ context: MigrationContext, from: SyncPlaces, gone: String?) {
    self.context = context
    self.from = from
    self.gone = gone
    (to, missing, isPartlyThere) = (nil, [], false)
  }

  /// Whether everything is where it should be, and nothing elsewhere.
  package var isMade: Bool { from.current == to && from.others.isEmpty && missing.isEmpty }

  // MARK: deeds

  /// Up to where the process may start at the new place.
  package func deeds() -> [Deed] {
    if isMade { return [] }
    let leftovers = removing(from.others.filter { place in to.map { !$0.isSame(as: place) } ?? true })
    if from.current == to, missing.isEmpty { return leftovers }
    return leftovers + preparing() + leaving()
  }

  /// What is left of the old place, when the new one runs.
  package func afterwards() -> [Deed] {
    guard let old = from.current else { return [] }
    guard let to, old.isSame(as: to) else { return removing([old]) }
    return old.digest == to.digest ? [] : [.hosted(to.host, unit(to).pruning)]
  }

  /// The new place is made and tried, while the old one goes on.
  private func preparing() -> [Deed] {
    guard let to, !missing.isEmpty else { return [] }
    var deeds: [Deed] = [
      .aside { _ in
        try await noting { places in
          if places.current?.isSame(as: to) != true, !places.others.contains(to) { places.others.append(to) }
        }
      },
      .hosted(to.host, unit(to).directories),
    ]
    deeds += missing.map { .hostedFile(to.host, $0) }
    return deeds + [
      .look(nil, "that the program runs on \(to.host), and reaches both servers from there") { _ in
        try await SyncTrial(context: context, place: to).run()
      }
    ]
  }

  /// The old place ends, and is seen to have gone. A process on this machine lets go when it reads that the migration is
  /// another's, and would take it up again as soon as it reads that it is not.
  private func leaving() -> [Deed] {
    let gone = Deed.wait(nil, "until no sync process has migration \(context.migrationName)") { _ in
      try await seenGone()
    }
    guard let old = from.current else { return (isPartlyThere ? to.map(ending) ?? [] : []) + [handingOver, gone] }
    return (old.host == self.gone ? [] : ending(old)) + [gone, handingOver]
  }

  /// A process ends, and says its last words: what it has counted, and what it has stepped over.
  private func ending(_ place: SyncPlace) -> [Deed] {
    unit(place).stop.map { .hosted(place.host, $0) } + [
      .aside { _ in
        do {
          try await context.exchange(.look, with: place)
        } catch let error as ConvoyError where error.code == "sync.not-there" {}
      }
    ]
  }

  private func unit(_ place: SyncPlace) -> SyncUnit { SyncUnit(place, migration: context.migrationName) }

  private var handingOver: Deed {
    .aside { _ in
      try await noting { places in
        let old = places.current
        places.others.removeAll { $0 == to }
        if let old, to.map({ !$0.isSame(as: old) }) ?? true { places.others.append(old) }
        places.current = to
      }
      let name = context.migrationName
      try await context.journal.perform { file throws(ConvoyError) in try file.wakeSync(migration: name) }
    }
  }

  /// Nobody has the lock on the target, and nobody reads the slots.
  private func seenGone() async throws {
    guard let record = try await context.record(), let handOff = record.handOff else { return }
    let way = Way(context: context, record: handOff, direction: record.direction)
    var who: String?
    try await waitUntil(
      within: .seconds(60), interval: .milliseconds(100),
      orThrow: {
        ConvoyError(
          "sync.not-stopped",
          "a sync process still has migration \(context.migrationName): \(who ?? "its slots are read")",
          at: context.place("start_sync"), hint: "end that process, then run the step again")
      }
    ) {
      who = try await MigrationHold.holder(context, handOff)
      guard who == nil else { return false }
      return try await way.activeSlots().isEmpty
    }
  }

  /// All places, for the end of the migration.
  package static func removingAll(_ context: MigrationContext, gone: String?) async throws -> [Deed] {
    let places = try await context.syncPlaces()
    guard !places.all.isEmpty else { return [] }
    let move = SyncMove(context, from: places, gone: gone)
    var deeds: [Deed] = []
    for place in places.all where place.host != gone {
      deeds += place == places.current ? move.ending(place) : move.unit(place).stop.map { .hosted(place.host, $0) }
      deeds.append(.hosted(place.host, move.unit(place).removal))
    }
    return deeds + [.aside { _ in try await context.removeFact(.syncPlaces) }]
  }

  private func removing(_ places: [SyncPlace]) -> [Deed] {
    var deeds: [Deed] = []
    for place in places {
      if place.host != gone {
        deeds += unit(place).stop.map { .hosted(place.host, $0) } + [.hosted(place.host, unit(place).removal)]
      }
      deeds.append(.aside { _ in try await noting { $0.others.removeAll { $0 == place } } })
    }
    return deeds
  }

  private func noting(_ change: (inout SyncPlaces) -> Void) async throws {
    var places = try await context.syncPlaces()
    change(&places)
    if places == SyncPlaces() {
      try await context.removeFact(.syncPlaces)
    } else {
      try await context.setFact(.syncPlaces, places)
    }
  }
}

/// Whether a place is any good, before the old one is given up for it.
struct SyncTrial: Sendable {
  let context: MigrationContext
  let place: SyncPlace

  /// - Throws: `sync.missing-libraries`, `sync.not-running-there`, `sync.no-way`, `sync.wrong-server`.
  func run() async throws {
    let remote = try await context.remote(named: place.host)
    try await checkLibraries(remote)
    let result = try await remote.run(
      RemoteCommand([place.run, "--check-servers"], deadline: .seconds(90), label: "trying the program").asking)
    guard result.succeeded else {
      let lines = result.errorText.split(separator: "\n").map(String.init)
      throw ConvoyError(
        "sync.no-way", "host \(place.host) does not reach both servers: \(lines.first ?? result.endDescription)",
        at: .host(place.host),
        hint: "let pgconvoy's role in from there (pg_hba.conf, firewall), and see the inventory's postgres.address and "
          + "replication_address", cause: result.errorText)
    }
    guard let identifier = try await context.record()?.handOff?.sourceSystemIdentifier else { return }
    let found = result.text.split(separator: "\n").map(String.init)
    guard found == [String(identifier), String(identifier)] else {
      throw ConvoyError(
        "sync.wrong-server", "host \(place.host) reaches other servers: \(found.joined(separator: ", "))",
        at: .host(place.host), hint: "see the inventory's postgres.address and replication_address")
    }
  }

  private func checkLibraries(_ remote: any RemoteHost) async throws {
    let listing = try await remote.run(
      .shell(
        "ldd -- \"$1\" 2>&1 | sed -n -e 's/ => not found.*//p' -e '/version .* not found/p'",
        arguments: [place.program], deadline: .seconds(30), label: "looking for libraries"
      ).asking)
    let missing = listing.text.split(separator: "\n").map { $0.drop(while: \.isWhitespace) }.map(String.init)
    guard missing.isEmpty else {
      throw ConvoyError(
        "sync.missing-libraries", "host \(place.host) lacks \(missing.joined(separator: ", "))", at: .host(place.host),
        hint:
          "on Debian: apt-get install libpq5 libssh2-1 libsqlite3-0; Swift's own libraries are inside a program built "
          + "with 'swift build -c release --static-swift-stdlib'")
    }
    let version = try await remote.run(
      RemoteCommand([place.program, "--version"], deadline: .seconds(30), label: "running the program").asking)
    guard version.succeeded else {
      throw ConvoyError(
        "sync.not-running-there", "the program does not run on host \(place.host)", at: .host(place.host),
        hint: "is it mounted noexec, or an older system than the one that the program was built on?",
        cause: version.errorText)
    }
  }
}
