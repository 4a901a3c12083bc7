package import Inventory
import Journal
package import MigrationCore
import RemoteHost
import ReplicationModel

/// A place on a host where a migration's sync process has been put: its program, credentials, state and unit.
package struct SyncPlace: Sendable, Codable, Equatable {
  /// The host's name in the inventory.
  package var host: String
  package var manager: SyncManager
  /// What is shared by all migrations whose processes run on the host as the same user.
  package var root: String
  /// The first digits of the program's SHA-256.
  package var digest: String
  /// Of the hand-off.
  package var nonce: String
  /// runit's, on the host.
  package var serviceDirectory: String

  /// The migration's own.
  package var directory: String { "\(root)/sync/\(nonce)-\(manager.rawValue)" }
  package var program: String { "\(root)/bin/\(digest)/pgconvoy" }
  var inventory: String { directory + "/inventory.yml" }
  var passfile: String { directory + "/passfile" }
  package var state: String { directory + "/state" }
  /// What the manager starts.
  var run: String { directory + "/run" }
  package var log: String { directory + "/sync.log" }
  package var unit: String { "pgconvoy-sync-\(nonce)" }

  /// Whether it is the same place, be it with another program.
  func isSame(as other: SyncPlace) -> Bool {
    var other = other
    other.digest = digest
    return other == self
  }
}

/// Where a migration's sync process is, by the journal.
package struct SyncPlaces: Sendable, Codable, Equatable {
  /// Nil: on the machine with this journal.
  package var current: SyncPlace?
  /// Where something of it may lie besides: noted before anything is put there, taken out when nothing is left.
  package var others: [SyncPlace] = []

  package var all: [SyncPlace] { (current.map { [$0] } ?? []) + others }
}

extension FactKey<SyncPlaces> {
  package static var syncPlaces: FactKey<SyncPlaces> { Self("sync_places") }
}

extension FactKey<String> {
  /// The state directory whose machine runs the workers, where they are on no host of the inventory's.
  package static var syncOwner: Self { Self("sync_owner") }
}

extension MigrationContext {
  /// Whose turn it is to run the workers, as a sync process on this machine sees it.
  package enum WorkersTurn: Sendable {
    case mine
    /// Another state directory's, for as long as a process runs there.
    case another(String)
    /// That of a process on a host.
    case hosted
  }

  package func workersTurn() async throws -> WorkersTurn {
    guard try await syncPlaces().current == nil else { return .hosted }
    guard let owner = try await fact(.syncOwner), owner != environment.stateDirectory.owner else { return .mine }
    return .another(owner)
  }

  /// Says that the workers are this state directory's to run, unless they are on a host.
  package func claimWorkers() async throws {
    guard try await syncPlaces().current == nil else { return }
    let owner = environment.stateDirectory.owner
    guard try await fact(.syncOwner) != owner else { return }
    try await setFact(.syncOwner, owner)
    // The process on this machine may have looked already, and found that it is not its turn.
    try await journal.perform { [migrationName] file throws(ConvoyError) in
      try file.wakeSync(migration: migrationName)
    }
  }

  package func syncPlaces() async throws -> SyncPlaces { try await fact(.syncPlaces) ?? SyncPlaces() }

  /// Where the inventory wants the process: nil: on this machine. Asks the host for what it must know.
  ///
  /// - Throws: `sync.other-architecture`, `sync.needs-root`, `sync.no-service-directory`, `sync.bad-directory`,
  ///   `sync.via-ssh`.
  package func wantedSyncPlace() async throws -> SyncPlace? {
    guard let name = migration.sync.host else { return nil }
    try refuseTunnels(from: name)
    let services = migration.syncHosts.first { $0.name == name }?.serviceDirectory ?? ""
    let facts = try await SyncHostFacts.read(try await remote(named: name), serviceDirectory: services)
    try await facts.check(migration.sync.manager, name, services)
    let root = migration.sync.directory ?? facts.home + "/.pgconvoy"
    let isPlain = root.utf8.allSatisfy { byte in
      byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
        || Character(Unicode.Scalar(byte)).isLetter || Character(Unicode.Scalar(byte)).isNumber
    }
    guard root.hasPrefix("/"), isPlain else {
      throw ConvoyError(
        "sync.bad-directory", "the directory for the sync process is '\(root)'", at: .host(name),
        hint: "name one of plain letters, digits, '/', '.', '_' and '-' with sync.directory")
    }
    return SyncPlace(
      host: name, manager: migration.sync.manager, root: root, digest: try await programDigest(),
      nonce: try await plannedNames().nonce, serviceDirectory: services)
  }

  /// The process has no SSH of its own: it reaches a server directly, or runs where that server does.
  private nonisolated func refuseTunnels(from name: String) throws {
    for side in Side.allCases {
      let host = migration.host(side)
      let isOther = migration.host(side == .source ? .target : .source).name == name
      guard host.postgres.via == .ssh, !host.isLocal, host.name != name, !isOther else { continue }
      throw ConvoyError(
        "sync.via-ssh", "host \(name) would have to reach the \(side.rawValue) through SSH", at: .host(name),
        hint: "run it on \(migration.source.name) or \(migration.target.name), or reach PostgreSQL directly")
    }
  }

  /// By the program's bytes, not by its version.
  private func programDigest() async throws -> String {
    let result = try await LocalHost().runChecked(
      RemoteCommand(["sha256sum", "--", environment.program], deadline: .seconds(60)))
    return String(result.text.prefix(16))
  }
}

/// What must be known of a host before anything is put there.
struct SyncHostFacts: Sendable, Equatable {
  var home: String
  /// As `uname -m` says.
  var machine: String
  var isRoot: Bool
  var mayAddServices: Bool
  var hasSystemd: Bool

  static func read(_ remote: any RemoteHost, serviceDirectory: String) async throws -> SyncHostFacts {
    let lines = try await remote.runChecked(
      .shell(
        """
        printf '%s\\n' "$HOME"; uname -m; id -u
        if [ -d "$1" ] && [ -w "$1" ]; then echo yes; else echo no; fi
        if [ -d /run/systemd/system ]; then echo yes; else echo no; fi
        """, arguments: [serviceDirectory], deadline: .seconds(30), label: "looking at the host"
      ).asking
    ).text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count == 5 else {
      throw ConvoyError("sync.unknown-host", "the host does not say what it is", at: .host(remote.name))
    }
    return SyncHostFacts(
      home: lines[0], machine: lines[1], isRoot: lines[2] == "0", mayAddServices: lines[3] == "yes",
      hasSystemd: lines[4] == "yes")
  }

  /// Refuses a host that cannot run this very program, or whose manager we cannot tell.
  func check(_ manager: SyncManager, _ name: String, _ services: String) async throws {
    let own = try await LocalHost().runChecked(RemoteCommand(["uname", "-m"], deadline: .seconds(30))).text
    guard machine == own else {
      throw ConvoyError(
        "sync.other-architecture", "host \(name) is \(machine), and this program is for \(own)", at: .host(name),
        hint: "run plays from a machine like that host, or the sync process on another host")
    }
    switch manager {
    case .systemd where !isRoot || !hasSystemd:
      throw ConvoyError(
        "sync.needs-root",
        hasSystemd ? "only root can give systemd a unit" : "systemd does not run there", at: .host(name),
        hint: hasSystemd ? "log in as root (ssh.user), or write 'manager: detached'" : "name another sync.manager")
    case .runit where !mayAddServices:
      throw ConvoyError(
        "sync.no-service-directory", "no service can be added to \(services)", at: .host(name),
        hint: "is runit there? name its directory with service_directory, log in as root, or write 'manager: detached'")
    default: break
    }
  }
}
