// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target of the house is built with the same strictness.
let house: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

/// A room: a library target. Its dependencies are rooms lower in the table of docs/explanation/rooms.md;
/// scripts/check-imports holds the code to that.
func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: house)
}

/// Tests of a room, or of several together. Each target has the fixtures of TestSupport.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies + ["TestSupport"], swiftSettings: house)
}

let package = Package(
  name: "pgconvoy",
  products: [
    .executable(name: "pgconvoy", targets: ["pgconvoy"]),
    // For the package in Benchmarks/.
    .library(
      name: "Rooms", targets: ["ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "DatabaseSync"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CLibSSH2", pkgConfig: "libssh2", providers: [.apt(["libssh2-1-dev"])]),
    room("ReplicationModel"),
    room("BlockingIO", [deque]),
    room("Presentation"),
    room("PostgresClient", ["CLibPQ", "ReplicationModel", "BlockingIO"]),
    room("LogicalDecoding", ["ReplicationModel", "Presentation"]),
    room("ReplicationStream", ["ReplicationModel", "BlockingIO", "PostgresClient"]),
    room("StatementReplication", ["ReplicationModel", "PostgresClient", "LogicalDecoding"]),
    room("OriginSession", ["ReplicationModel", "BlockingIO", "PostgresClient"]),
    room(
      "ChangeApply",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "StatementReplication", "OriginSession",
      ]),
    room(
      "DatabaseSync",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "ReplicationStream", "OriginSession",
        "ChangeApply", logging,
      ]),
    room("RemoteHost", ["CLibSSH2", "ReplicationModel", "BlockingIO", crypto]),
    room("Inventory", ["ReplicationModel", "Presentation", "LogicalDecoding", yams]),
    room("Playbook", ["ReplicationModel", "Presentation", "Inventory"]),
    room("Journal", ["ReplicationModel", "BlockingIO", grdb]),
    room("StatusReport", ["ReplicationModel", "Presentation"]),
    room(
      "HostAdmin", ["ReplicationModel", "BlockingIO", "PostgresClient", "RemoteHost", "Inventory", logging]),
    room(
      "MigrationCore",
      [
        "ReplicationModel", "BlockingIO", "Presentation", "PostgresClient", "LogicalDecoding", "StatementReplication",
        "RemoteHost", "Inventory", "Playbook", "Journal", "HostAdmin", logging,
      ]),
    room(
      "MigrationRecord",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "Inventory", "Playbook", "Journal", "HostAdmin",
        "MigrationCore",
      ]),
    room(
      "Verification",
      [
        "ReplicationModel", "BlockingIO", "Presentation", "PostgresClient", "LogicalDecoding", "Inventory",
        "Playbook", "Journal", "HostAdmin", "MigrationCore",
      ]),
    room(
      "SyncService",
      [
        "ReplicationModel", "BlockingIO", "Presentation", "PostgresClient", "LogicalDecoding", "StatementReplication",
        "DatabaseSync", "RemoteHost", "Inventory", "Playbook", "Journal", "HostAdmin", "MigrationCore",
        "MigrationRecord", "Verification",
        logging,
      ]),
    room(
      "Preflight",
      [
        "ReplicationModel", "Presentation", "PostgresClient", "LogicalDecoding", "RemoteHost", "Inventory", "Journal",
        "HostAdmin", "MigrationCore", "Verification", "SyncService",
      ]),
    room(
      "ClosingReports",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "RemoteHost", "Inventory", "Journal", "StatusReport",
        "MigrationCore",
      ]),
    room(
      "CopySteps",
      [
        "ReplicationModel", "BlockingIO", "Presentation", "PostgresClient", "LogicalDecoding", "StatementReplication",
        "RemoteHost", "Inventory", "Playbook", "Journal", "HostAdmin", "MigrationCore", "MigrationRecord",
        "Verification", "SyncService",
        "Preflight", "ClosingReports",
      ]),
    room(
      "MigrationSteps",
      [
        "ReplicationModel", "BlockingIO", "Presentation", "PostgresClient", "LogicalDecoding", "StatementReplication",
        "RemoteHost", "Inventory", "Playbook", "Journal", "HostAdmin", "MigrationCore", "MigrationRecord",
        "Verification", "SyncService",
        "Preflight", "ClosingReports", "CopySteps",
      ]),
    room("Lab", ["ReplicationModel", "BlockingIO", "Presentation", "PostgresClient"]),
    .executableTarget(
      name: "pgconvoy",
      dependencies: [
        "ReplicationModel", "BlockingIO", "Presentation", "PostgresClient", "LogicalDecoding", "DatabaseSync",
        "RemoteHost", "Inventory", "Playbook", "Journal", "StatusReport", "HostAdmin", "MigrationCore",
        "MigrationRecord", "Verification",
        "SyncService", "Preflight", "ClosingReports", "MigrationSteps", "Lab", argumentParser, logging,
      ],
      swiftSettings: house),
    .target(
      name: "TestSupport", dependencies: ["ReplicationModel", "BlockingIO", "PostgresClient", "Lab"],
      path: "Tests/TestSupport", swiftSettings: house),
    // Apart from TestSupport, which the rooms below need not wait for.
    .target(
      name: "MigrationFixtures",
      dependencies: ["TestSupport", "ReplicationModel", "Inventory", "Journal", "MigrationCore", logging],
      path: "Tests/MigrationFixtures", swiftSettings: house),
    tests("TestSupportTests", ["BlockingIO", "Lab", "PostgresClient"]),
    tests("ReplicationModelTests", ["ReplicationModel"]),
    tests("BlockingIOTests", ["BlockingIO"]),
    tests("PresentationTests", ["Presentation"]),
    tests("PostgresClientTests", ["PostgresClient", "Lab", "BlockingIO", "ReplicationModel"]),
    tests("LogicalDecodingTests", ["LogicalDecoding", "ReplicationModel"]),
    tests("ReplicationStreamTests", ["ReplicationStream", "ReplicationModel", "BlockingIO", "PostgresClient"]),
    tests("StatementReplicationTests", ["StatementReplication", "LogicalDecoding"]),
    tests(
      "ChangeApplyTests",
      [
        "DatabaseSync", "ChangeApply", "OriginSession", "StatementReplication", "LogicalDecoding", "ReplicationModel",
        "PostgresClient", "BlockingIO",
      ]),
    tests("GroupMachineTests", ["ChangeApply", "OriginSession", "BlockingIO", "PostgresClient", "ReplicationModel"]),
    tests(
      "DatabaseSyncTests",
      [
        "DatabaseSync", "ChangeApply", "OriginSession", "ReplicationStream", "PostgresClient", "BlockingIO",
        "ReplicationModel",
      ]),
    tests("RemoteHostTests", ["RemoteHost", "ReplicationModel"]),
    tests("InventoryTests", ["Inventory", "LogicalDecoding", "ReplicationModel"]),
    tests("PlaybookTests", ["Playbook", "Inventory", "ReplicationModel"]),
    tests("JournalTests", ["Journal", "BlockingIO", "ReplicationModel"]),
    tests(
      "HostAdminTests",
      ["HostAdmin", "Inventory", "RemoteHost", "ReplicationModel", "PostgresClient", "BlockingIO", "Lab"]),
    tests(
      "MigrationCoreTests",
      [
        "MigrationFixtures", "MigrationCore", "MigrationRecord", "HostAdmin", "Inventory", "ReplicationModel",
        "Journal", "Playbook", "PostgresClient", "RemoteHost", logging,
      ]),
    tests("VerificationTests", ["Verification", "MigrationCore", "ReplicationModel"]),
    tests(
      "PreflightTests",
      ["Preflight", "CopySteps", "MigrationSteps", "HostAdmin", "MigrationCore", "Inventory", "ReplicationModel"]),
    tests("ClosingReportsTests", ["ClosingReports", "StatusReport", "ReplicationModel"]),
    tests(
      "StepTests",
      [
        "MigrationFixtures", "CopySteps", "MigrationSteps", "MigrationCore", "HostAdmin", "ReplicationModel",
        "Inventory", "Playbook", "Journal",
      ]),
    tests(
      "MigrationStepsTests",
      [
        "MigrationFixtures", "CopySteps", "MigrationSteps", "ReplicationModel", "LogicalDecoding", "Inventory",
        "Playbook", "Journal", "HostAdmin", "MigrationCore", "MigrationRecord", "Verification", "SyncService",
        "Preflight", "ClosingReports",
        "PostgresClient", "RemoteHost", "Lab", "StatusReport",
      ]),
    tests("StatusReportTests", ["StatusReport", "Presentation", "ReplicationModel"]),
    tests("LabTests", ["Lab", "ReplicationModel", "PostgresClient", "BlockingIO", "LabProgram"]),
    .executableTarget(
      name: "LabProgram", dependencies: ["Lab", "ReplicationModel"], path: "Tests/LabProgram", swiftSettings: house),
    tests("CommandLineTests", ["ReplicationModel", "pgconvoy"]),
    tests(
      "RoundTripTests",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "ReplicationStream", "OriginSession",
        "ChangeApply",
        "DatabaseSync", "Lab",
      ]),
    tests(
      "ScenarioTests",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "ReplicationStream", "ChangeApply",
        "DatabaseSync", "RemoteHost", "Inventory", "Playbook", "Journal", "Lab", "pgconvoy",
      ]),
  ],
  swiftLanguageModes: [.v6]
)
