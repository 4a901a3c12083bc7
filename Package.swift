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
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

/// A room: a library target. Its dependencies are rooms lower in the table of docs/explanation/rooms.md;
/// scripts/check-imports holds the code to that.
func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: house)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
  .testTarget(name: name, dependencies: dependencies, resources: resources, swiftSettings: house)
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
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CLibSSH2", pkgConfig: "libssh2", providers: [.apt(["libssh2-1-dev"])]),
    room("ReplicationModel"),
    room("BlockingIO"),
    room("PostgresClient", ["CLibPQ", "ReplicationModel", "BlockingIO"]),
    room("LogicalDecoding", ["ReplicationModel"]),
    room("ReplicationStream", ["ReplicationModel", "BlockingIO", "PostgresClient"]),
    room("ChangeApply", ["ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding"]),
    room(
      "DatabaseSync",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "ReplicationStream", "ChangeApply",
        logging,
      ]),
    room("RemoteHost", ["CLibSSH2", "ReplicationModel", "BlockingIO"]),
    room("Inventory", ["ReplicationModel", yams]),
    room("Playbook", ["ReplicationModel", "Inventory"]),
    room("Journal", ["ReplicationModel", "BlockingIO", grdb]),
    room("StatusReport", ["ReplicationModel"]),
    room(
      "MigrationSteps",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "ChangeApply", "DatabaseSync", "RemoteHost", "Inventory",
        "Playbook", "Journal", "StatusReport", logging,
      ]),
    room("Lab", ["ReplicationModel", "BlockingIO", "PostgresClient"]),
    .executableTarget(
      name: "pgconvoy",
      dependencies: [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "DatabaseSync", "RemoteHost",
        "Inventory", "Playbook", "Journal", "MigrationSteps", "StatusReport", "Lab", argumentParser, logging,
      ],
      swiftSettings: house),
    tests("ReplicationModelTests", ["ReplicationModel"]),
    tests("BlockingIOTests", ["BlockingIO"]),
    tests("PostgresClientTests", ["PostgresClient", "Lab", "BlockingIO", "ReplicationModel"]),
    tests("LogicalDecodingTests", ["LogicalDecoding", "ReplicationModel"]),
    tests("ReplicationStreamTests", ["ReplicationStream", "ReplicationModel", "BlockingIO", "PostgresClient"]),
    tests(
      "ChangeApplyTests", ["ChangeApply", "LogicalDecoding", "ReplicationModel", "PostgresClient", "BlockingIO"]),
    tests("GroupMachineTests", ["ChangeApply", "BlockingIO", "PostgresClient", "ReplicationModel"]),
    tests("DatabaseSyncTests", ["DatabaseSync", "ChangeApply", "BlockingIO", "ReplicationModel"]),
    tests("RemoteHostTests", ["RemoteHost", "ReplicationModel"]),
    tests("InventoryTests", ["Inventory", "ReplicationModel"]),
    tests("PlaybookTests", ["Playbook", "Inventory", "ReplicationModel"]),
    tests("JournalTests", ["Journal", "BlockingIO", "ReplicationModel"]),
    tests(
      "MigrationStepsTests",
      [
        "MigrationSteps", "ReplicationModel", "Inventory", "Playbook", "Journal", "PostgresClient", "RemoteHost", "Lab",
        "StatusReport", logging,
      ]),
    tests("StatusReportTests", ["StatusReport", "ReplicationModel"]),
    tests("LabTests", ["Lab", "ReplicationModel", "PostgresClient", "BlockingIO", "LabProgram"]),
    .executableTarget(
      name: "LabProgram", dependencies: ["Lab", "ReplicationModel"], path: "Tests/LabProgram", swiftSettings: house),
    tests("CommandLineTests", ["ReplicationModel", "pgconvoy"]),
    tests(
      "RoundTripTests",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "ReplicationStream", "ChangeApply",
        "DatabaseSync", "Lab",
      ]),
    tests(
      "ScenarioTests",
      [
        "ReplicationModel", "BlockingIO", "PostgresClient", "LogicalDecoding", "ReplicationStream", "ChangeApply",
        "DatabaseSync", "RemoteHost", "Inventory", "Playbook", "Journal", "MigrationSteps", "Lab", "pgconvoy",
      ]),
  ],
  swiftLanguageModes: [.v6]
)
