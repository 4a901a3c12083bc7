import Inventory
import ReplicationModel
import Testing

@testable import HostAdmin
@testable import MigrationCore
@testable import Preflight

/// Facts of a migration with nothing wrong about it; each test spoils one.
func soundFacts(_ change: (inout PreflightFacts) -> Void = { _ in }) throws -> PreflightFacts {
  let text = """
    hosts:
      old: { address: 10.0.1.10, ssh: { user: admin }, postgres: { user: pgconvoy } }
      new: { address: 10.0.1.20, ssh: { user: admin }, postgres: { data_directory: /pg/data } }
    migrations:
      shop: { source: old, target: new, version_check: "shop --version" }
    """
  let inventory = try FleetInventory.parse(text, path: "/nowhere/inventory.yml")
  let migration = try #require(inventory.migrations.first)
  var facts = PreflightFacts(
    migration: migration, source: side(.source), target: side(.target),
    cluster: .value(
      ClusterFacts(
        databases: [
          .init(name: "postgres"), .init(name: "shop", usesCLibraryLocale: true),
          .init(name: "template0", takesConnections: false, isTemplate: true),
          .init(name: "template1", isTemplate: true),
        ],
        tablespaces: [
          .init(name: "pg_default", location: "", bytes: 10 << 30), .init(name: "pg_global", location: "", bytes: 1),
        ],
        walBytes: 1 << 30)),
    directory: .value(TargetDirectory(data: path("/pg/data", isFilled: true), parent: path("/pg"))),
    tablespaces: .value([]), walDirectory: .value(nil),
    taken: .value(TakenRoom()), hasCopy: .value(false), replication: .value(.identified(systemIdentifier: "source-id")),
    sourceFiles: .value(DataFiles()), keptFiles: .value(DataFiles()),
    sourceWAL: .value(path("/pg/data/pg_wal", isFilled: true)), libraries: .value(LibraryFacts(directory: "/pg/lib")),
    sync: .value(nil),
    databases: [("postgres", .value(DatabaseFacts())), ("shop", .value(DatabaseFacts()))])
  change(&facts)
  return facts
}

private func side(_ side: Side) -> SideFacts {
  SideFacts(
    account: .value(AccountFacts(name: "postgres", clockOffset: 0.2, clockUncertainty: 0.1)),
    installation: .value(Installation(dataDirectory: "/pg/data", binDirectory: "/pg/bin")),
    configurationError: .value(nil),
    machine: .value(
      MachineFacts(
        bootID: "boot-\(side)", cLibrary: "glibc 2.36", dataInode: "1:2",
        programs: Set(HostChecks.neededPrograms + [HostChecks.walReading]),
        postgresVersion: "postgres (PostgreSQL) 15.20 (Debian 15.20-1)", outputPlugin: .present,
        ownAddresses: ["10.0.1.20"], listening: ["0.0.0.0"], ownPort: 5432)),
    role: .value(RoleFacts(name: "pgconvoy", isSuperuser: true, isInRecovery: false, serverVersion: 150020)),
    server: .value(
      ServerFacts(
        systemIdentifier: "\(side)-id", startTime: "2026-01-01", dataDirectory: "/pg/data",
        settings: [
          "wal_level": "logical", "max_replication_slots": "10", "max_wal_senders": "10",
          "max_slot_wal_keep_size": "-1", "max_connections": "100", "password_encryption": "scram-sha-256",
          "block_size": "8192", "data_checksums": "on",
        ], icuVersion: "153.120")),
    authentication: .value(
      AuthenticationFacts(path: "/pg/data/pg_hba.conf", fenceObstacle: nil, isFenced: false, brokenLine: nil)),
    application: .value("shop 1.0"))
}

func path(
  _ path: String, _ kind: PathFacts.Kind = .directory, isFilled: Bool = false, ancestor: String? = nil,
  isWritable: Bool = true, device: String = "1", free: UInt64 = 100 << 30
) -> PathFacts {
  PathFacts(
    path: path, kind: kind, isFilled: isFilled, isMountPoint: false, ancestor: ancestor ?? path,
    ancestorIsWritable: isWritable, device: device, freeBytes: free)
}

extension Reading {
  /// Changes the value that is there.
  mutating func change(_ body: (inout Value) -> Void) {
    guard case .value(var value) = self else { return }
    body(&value)
    self = .value(value)
  }
}
