import FoundationEssentials
import ReplicationModel

let moment = Date(timeIntervalSince1970: 1_772_359_200)

func sampleStatus() -> ConvoyStatus {
  var streaming = DatabaseStatus(migration: "chef-eu", database: "opscode_chef", phase: .streaming)
  streaming.direction = .forward
  streaming.lagBytes = 1_258_291
  streaming.lagSeconds = 0.25
  streaming.transactionsApplied = 1_204_112
  streaming.rowsApplied = 9_876_543_210
  streaming.rowsPerSecond = 12_345.6
  streaming.handOffLSN = LSN(0x16_B374_D848)
  streaming.appliedLSN = LSN(0x16_B400_0000)
  streaming.confirmedFlushLSN = LSN(0x16_B400_0000)
  streaming.sourceLSN = LSN(0x16_B413_3333)
  var parked = DatabaseStatus(migration: "chef-eu", database: "naïve \"x\"\n🚚日本", phase: .parked)
  parked.lagBytes = 5 << 30
  parked.lagSeconds = 7500
  parked.transactionsApplied = 7
  parked.rowsApplied = 8
  parked.missedRows = 2
  parked.lastError = "duplicate key value violates unique constraint \"users_pkey\" at 16/B374D900"
  let copying = DatabaseStatus(migration: "chef-us", database: "bifrost", phase: .copying)
  var status = ConvoyStatus(
    generatedAt: moment, sync: .init(running: true, pid: 4711),
    migrations: [
      .init(
        name: "chef-eu", source: "eu-old", target: "eu-new", state: .handedOff, handOffLSN: LSN(0x16_B374_D848),
        databases: [streaming, parked]),
      .init(name: "chef-us", source: "us-old", target: "us-new", state: .copying, databases: [copying]),
      .init(name: "chef-ap", source: "ap-old", target: "ap-new", state: .none),
    ])
  status.migrations[0].direction = .forward
  status.migrations[0].sourceFenced = false
  return status
}

func sampleReport() -> MigrationReport {
  var report = MigrationReport(
    generatedAt: moment, migration: "chef-eu", source: "eu-old", target: "eu-new", outcome: .cutOver,
    versions: .init(pgconvoy: "0.1.0", source: "15.20", target: "15.20", application: "chef-server 15.9"))
  report.handOffLSN = LSN(0x16_B374_D848)
  report.downtimeMilliseconds = 3_240
  report.phases = [
    .init(name: "base backup", milliseconds: 72_400), .init(name: "standby", milliseconds: 3_100),
    .init(name: "catch up", milliseconds: 18_000), .init(name: "fence", milliseconds: 240),
    .init(name: "drain", milliseconds: 900), .init(name: "verify", milliseconds: 2_000),
  ]
  var chef = MigrationReport.Database(name: "opscode_chef")
  chef.handOffLSN = LSN(0x16_B374_D848)
  chef.transactionsApplied = 104_112
  chef.rowsApplied = 400_000
  chef.sequencesSet = 12
  chef.tablesVerified = 48
  chef.source = .init(rows: 1_204_112, checksum: "9f3c51aa0be77d21")
  chef.target = .init(rows: 1_204_112, checksum: "9f3c51aa0be77d21")
  var bookshelf = MigrationReport.Database(name: "bookshelf")
  bookshelf.transactionsApplied = 12
  bookshelf.rowsApplied = 0
  report.databases = [chef, bookshelf]
  report.markers = [
    .init(database: "opscode_chef", name: "drain", lsn: LSN(0x16_B500_0000)),
    .init(database: "opscode_chef", name: "proof", lsn: LSN(0x16_B500_0120), changesBefore: 0),
  ]
  report.findings = [
    .init(.note, "archiving stays off on the target"),
    .init(.warning, "2 unlogged tables are empty", database: "bookshelf"),
  ]
  return report
}
