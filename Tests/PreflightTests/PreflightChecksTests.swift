import Inventory
import LogicalDecoding
import ReplicationModel
import Testing

@testable import HostAdmin
@testable import MigrationCore
@testable import Preflight

@Suite("preflight: what is judged of what")
struct PreflightChecksTests {
  /// One thing spoilt, and all that may be found then, as `severity code problem`.
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var expected: [String]
    var spoil: @Sendable (inout PreflightFacts) -> Void
    var testDescription: String { name }

    init(_ name: String, _ expected: [String], _ spoil: @escaping @Sendable (inout PreflightFacts) -> Void) {
      self.name = name
      self.expected = expected
      self.spoil = spoil
    }
  }

  @Test("nothing is found where nothing is wrong, and every check is made")
  func sound() throws {
    let report = Preflight.evaluate(try soundFacts())
    #expect(report.findings == [])
    #expect(report.passed)
    #expect(report.checks.filter { $0.notMade != nil } == [])
    #expect(Set(Preflight.catalogue.map(\.name)).count == Preflight.catalogue.count)
  }

  @Test(
    arguments: hostCases + syncCases + serverCases + buildCases + replicationCases + effectCases + directoryCases
      + databaseCases)
  func finding(_ example: Case) throws {
    let report = Preflight.evaluate(try soundFacts(example.spoil))
    #expect(report.findings.map { "\($0.severity.rawValue) \($0.code) \($0.problem)" } == example.expected)
    for finding in report.findings where finding.severity != .note { #expect(finding.remedy != nil) }
  }

  /// Nine tenths of what is free. A limit of nothing would lose every slot at once.
  @Test func theLimitThatMendsAFullDiskLeavesSlotsTheirWAL() throws {
    let report = Preflight.evaluate(try soundFacts { $0.cluster.change { $0.walRate = 2 << 20 } })
    #expect(report.findings.first?.remedy?.hasSuffix("max_slot_wal_keep_size = '92160MB'") == true)
  }

  @Test(arguments: [
    ("", [], false), ("*", [], true), ("a, \"B c\"", ["a", "b c"], false), ("FIRST 2 (a, *)", ["a"], true),
    ("any 1 (x)", ["x"], false), ("2(a,b)", ["a", "b"], false), ("\"*\"", ["*"], false),
    ("\"a\"\"b\"", ["a\"b"], false),
  ])
  func synchronousStandbys(_ text: String, names: [String], isAny: Bool) {
    let standbys = SynchronousStandbys(text)
    #expect(standbys.names == names && standbys.isAny == isAny)
  }

  static let syncCases = [
    Case("WorkersOnTheTarget", []) { $0.sync = .value(SyncHostAnswer(host: "new")) },
    Case("LibrariesForTheWorkersMissing", ["error preflight.sync-libraries new has no libpq.so.5, libssh2.so.1"]) {
      $0.sync = .value(SyncHostAnswer(host: "new", missingLibraries: ["libpq.so.5", "libssh2.so.1"]))
    },
    Case(
      "SourceRefusesTheWorkers",
      ["error preflight.sync-connection the source refuses the workers' sessions from the target: FATAL:  no entry"]
    ) { $0.sync = .value(SyncHostAnswer(host: "new", refusal: "psql: error:\nFATAL:  no entry")) },
    Case("AnotherProcessor", ["error sync.other-architecture host new is aarch64"]) {
      $0.sync = .failed(
        ConvoyError("sync.other-architecture", "host new is aarch64", hint: "run plays from a machine like that host"))
    },
  ]

  static let effectCases = [
    Case(
      "NoConnectionLeft",
      ["warning preflight.connections 5 connections left of 100, 14 needed during the cutover"]
    ) { $0.cluster.change { $0.clientBackends = 95 } },
    Case(
      "TooFewConnectionsAtAll",
      ["error preflight.connections max_connections is 12, pgconvoy alone needs 14 during the cutover"]
    ) {
      $0.source.server.change { $0.settings["max_connections"] = "12" }
    },
    Case(
      "EveryWalsenderIsAStandby",
      [
        "error preflight.synchronous-standbys synchronous_standby_names is 'ANY 1 (east, *)', which means pgconvoy's own "
          + "walsenders too"
      ]
    ) { $0.source.server.change { $0.settings["synchronous_standby_names"] = "ANY 1 (east, *)" } },
    Case("StandbysHaveNames", []) {
      $0.source.server.change { $0.settings["synchronous_standby_names"] = "FIRST 2 (east, \"*\", \"We St\")" }
    },
    Case(
      "TargetWaitsForStandbys",
      ["error preflight.synchronous-standbys synchronous_standby_names will be 'east' on new when it opens"]
    ) { $0.target.server.change { $0.settings["synchronous_standby_names"] = "east" } },
    // The source's configuration comes along.
    Case(
      "TargetWithoutAClusterWillWaitForStandbys",
      ["error preflight.synchronous-standbys synchronous_standby_names will be 'east' on new when it opens"]
    ) {
      $0.target.authentication = .value(nil)
      $0.source.server.change { $0.settings["synchronous_standby_names"] = "east" }
    },
    Case("TheCopyLeavesBehindWhatALTERSYSTEMHasMade", []) {
      $0.target.authentication = .value(nil)
      $0.source.server.change {
        $0.settings["synchronous_standby_names"] = "east"
        $0.madeBySystem = ["synchronous_standby_names"]
      }
    },
    Case(
      "WorkersOfExtensions",
      [
        "warning preflight.background-workers background workers of extensions are in its databases: "
          + "autoprewarm worker, pg_cron launcher"
      ]
    ) { $0.cluster.change { $0.backgroundWorkers = ["autoprewarm worker", "pg_cron launcher"] } },
  ]

  static let hostCases = [
    Case("WrongUser", ["error preflight.os-user commands for postgres run as admin"]) {
      $0.target.account.change { $0.name = "admin" }
    },
    Case("ProgramsMissing", ["error preflight.programs /pg/bin has no pg_basebackup, psql"]) {
      $0.target.machine.change { $0.programs = ["pg_ctl", "postgres", "pg_waldump"] }
    },
    Case("NoWALReader", ["warning preflight.wal-reader there is no pg_waldump"]) {
      $0.source.machine.change { $0.programs.remove("pg_waldump") }
    },
    Case(
      "OneDirectoryForBoth", ["error preflight.same-data-directory old and new have one data directory, /pg/data"]
    ) { $0.target.machine.change { $0.bootID = "boot-source" } },
    // Two labs share a machine; that alone is fine.
    Case("OneMachineForBoth", []) {
      $0.target.machine.change {
        $0.bootID = "boot-source"
        $0.dataInode = "1:3"
      }
    },
    Case(
      "PatroniOnBoth",
      [
        "error preflight.cluster-manager patroni manages the target's server",
        "warning preflight.cluster-manager patroni manages the source's server",
      ]
    ) {
      $0.source.machine.change { $0.clusterManagers = ["patroni"] }
      $0.target.machine.change { $0.clusterManagers = ["patroni"] }
    },
    Case("PortTaken", ["error preflight.port-taken something listens on 10.0.1.20:5432"]) {
      $0.target.machine.change {
        $0.listening = ["10.0.1.20", "127.0.0.1"]
        $0.ownPort = nil
      }
    },
    Case("PortTakenWhileOurServerRunsOnAnother", ["error preflight.port-taken something else listens on :::5432"]) {
      $0.target.machine.change {
        $0.listening = ["::"]
        $0.ownPort = 5433
      }
    },
    Case("PortInUseAtAnotherAddress", []) {
      $0.target.machine.change {
        $0.listening = ["127.0.0.1"]
        $0.ownPort = nil
      }
    },
    Case("ClockBehind", ["warning preflight.clock-skew the target's clock is 9 s behind the source's"]) {
      $0.target.account.change { $0.clockOffset = -9 }
    },
    Case("ClockOffButSoIsTheMeasurement", []) {
      $0.target.account.change {
        $0.clockOffset = 8
        $0.clockUncertainty = 4
      }
    },
    Case(
      "ApplicationDiffers",
      ["error preflight.version-check version_check prints 'shop 1.0' on old, 'shop 1.1' on new"]
    ) { $0.target.application = .value("shop 1.1") },
    Case("ApplicationUnknown", ["error preflight.version-check version_check failed: it printed nothing"]) {
      $0.source.application = .failed(ConvoyError("host.command-failed", "it printed nothing"))
    },
  ]

  static let serverCases = [
    Case(
      "TargetAddressIsTheSource",
      ["error preflight.same-server the target's address 10.0.1.20:5432 leads to the source's server"]
    ) { $0.target.server.change { $0.systemIdentifier = "source-id" } },
    // A copy has its source's system identifier, but a start of its own.
    Case("TargetIsAnEarlierCopy", []) {
      $0.target.server.change {
        $0.systemIdentifier = "source-id"
        $0.startTime = "2026-02-02"
      }
    },
    Case("TargetKnowsNotOurRoleYet", ["note postgres.no-role FATAL: role \"pgconvoy\" does not exist"]) {
      $0.target.role = .failed(
        ConvoyError("postgres.no-role", "FATAL: role \"pgconvoy\" does not exist", hint: "x"))
      $0.target.server = .notAsked("no role")
    },
    Case(
      "RoleIsShared", ["warning preflight.shared-role 3 other sessions as role pgconvoy: billing, no application name"]
    ) { $0.cluster.change { $0.sessionsOfOurRole = ["billing", "", "billing"] } },
    Case("SourceIsAStandby", ["error preflight.source-in-recovery the source is a standby"]) {
      $0.source.role.change { $0.isInRecovery = true }
    },
    Case(
      "OtherMajorVersion",
      ["error preflight.postgres-version the source runs PostgreSQL 15, the target's programs are of version 18"]
    ) { $0.target.machine.change { $0.postgresVersion = "postgres (PostgreSQL) 18beta1" } },
    Case(
      "OlderMinorVersion",
      ["warning preflight.postgres-minor-version the target's programs are 15.4, the source runs 15.20"]
    ) { $0.target.machine.change { $0.postgresVersion = "postgres (PostgreSQL) 15.4" } },
    Case(
      "HBAFileUnfit",
      [
        "error preflight.broken-hba /pg/data/pg_hba.conf, line 3: end-of-line before authentication method",
        "error preflight.no-own-record no record",
        "warning preflight.fence-standing a fence of pgconvoy stands in "
          + "/pg/data/pg_hba.conf",
      ]
    ) {
      $0.source.authentication = .value(
        AuthenticationFacts(
          path: "/pg/data/pg_hba.conf", fenceObstacle: "no record", isFenced: true,
          brokenLine: "line 3: end-of-line before authentication method"))
    },
    Case(
      "SettingsLower", ["note preflight.settings-raised lower than on the source: max_connections (20, source 100)"]
    ) { $0.target.server.change { $0.settings["max_connections"] = "20" } },
    Case(
      "CLibraryDiffers",
      [
        "warning preflight.collation-version the C library is 'glibc 2.36' on the source, 'glibc 2.41' on the target",
        "warning preflight.icu-version ICU's collation version is 153.120 on the source, 153.128 on the target",
      ]
    ) {
      $0.target.machine.change { $0.cLibrary = "glibc 2.41" }
      $0.target.server.change { $0.icuVersion = "153.128" }
    },
    Case(
      "CLibraryDiffersButOnlyBytesAreCompared",
      ["note preflight.collation-version the C library is 'glibc 2.36' on the source, 'glibc 2.41' on the target"]
    ) {
      $0.target.machine.change { $0.cLibrary = "glibc 2.41" }
      $0.cluster.change { $0.databases[1].usesCLibraryLocale = false }
    },
  ]

  static let buildCases = [
    Case("SourceTooOld", ["error preflight.old-version the source runs PostgreSQL 10"]) {
      $0.source.role.change { $0.serverVersion = 100023 }
      $0.target.machine.change { $0.postgresVersion = "postgres (PostgreSQL) 10.23" }
    },
    Case("BlocksDiffer", ["error preflight.block-size block_size is 8192 on the source, 32768 on the target"]) {
      $0.target.server.change { $0.settings["block_size"] = "32768" }
    },
    Case(
      "SegmentsAreLargerThanTheTargetAllowsFor",
      ["error preflight.wal-segments min_wal_size is 80 MB on the target, and the source's WAL segments are 64 MB"]
    ) {
      $0.source.server.change { $0.settings["wal_segment_size"] = "67108864" }
      $0.target.server.change { $0.settings.merge(["min_wal_size": "80", "max_wal_size": "1024"]) { $1 } }
    },
    Case("SegmentsFit", []) {
      $0.source.server.change { $0.settings["wal_segment_size"] = "16777216" }
      $0.target.server.change { $0.settings.merge(["min_wal_size": "32", "max_wal_size": "32"]) { $1 } }
    },
    Case("ChecksumsGetLost", ["warning preflight.checksums the target has data checksums, the source has none"]) {
      $0.source.server.change { $0.settings["data_checksums"] = "off" }
    },
    Case("ChecksumsAreGained", []) { $0.target.server.change { $0.settings["data_checksums"] = "off" } },
    Case(
      "LibraryAndExtensionMissing",
      [
        "error preflight.library /pg/lib lacks $libdir/postgis-3, used in: shop",
        "warning preflight.extension extension postgis is not installed, used in: shop",
      ]
    ) {
      $0.databases[1].facts.change {
        $0.libraries = ["$libdir/hstore", "$libdir/postgis-3"]
        $0.extensions = ["plpgsql", "postgis"]
      }
      $0.libraries.change {
        $0.missingLibraries = ["$libdir/postgis-3"]
        $0.missingExtensions = ["postgis"]
      }
    },
  ]

  static let replicationCases = [
    Case(
      "DiskFullWithinADay",
      ["warning preflight.wal-space 100.0 GB free at /pg/data/pg_wal, and 2.0 MB of WAL a second: 14 hours"]
    ) { $0.cluster.change { $0.walRate = 2 << 20 } },
    Case(
      "DiskFullWithinTheHour",
      ["warning preflight.wal-space 100.0 GB free at /pg/data/pg_wal, and 100.0 MB of WAL a second: 17 minutes"]
    ) { $0.cluster.change { $0.walRate = 100 << 20 } },
    Case("LimitProtectsTheDisk", ["warning preflight.slot-wal-limit max_slot_wal_keep_size is 90000 MB"]) {
      $0.cluster.change { $0.walRate = 100 << 20 }
      $0.source.server.change { $0.settings["max_slot_wal_keep_size"] = "90000" }
    },
    Case(
      "LimitIsMoreThanTheDisk",
      [
        "warning preflight.slot-wal-limit max_slot_wal_keep_size is 900000 MB",
        "warning preflight.wal-space 100.0 GB free at /pg/data/pg_wal, and 100.0 MB of WAL a second: 17 minutes",
      ]
    ) {
      $0.cluster.change { $0.walRate = 100 << 20 }
      $0.source.server.change { $0.settings["max_slot_wal_keep_size"] = "900000" }
    },
    Case("WALCannotBeDecoded", ["error preflight.wal-level wal_level is replica"]) {
      $0.source.server.change { $0.settings["wal_level"] = "replica" }
    },
    Case(
      "NoRoomForSlots",
      [
        "error preflight.replication-slots 2 slots free of 10, 3 needed",
        "error preflight.walsenders 3 walsenders free of 10, 4 needed",
      ]
    ) {
      $0.cluster.change {
        $0.slotsInUse = 8
        $0.walsendersInUse = 7
      }
    },
    Case("JustEnoughRoom", []) {
      $0.cluster.change {
        $0.slotsInUse = 7
        $0.walsendersInUse = 6
      }
    },
    Case(
      "SlotsAreBounded",
      [
        "warning preflight.slot-wal-limit max_slot_wal_keep_size is 1024 MB",
        "warning preflight.slot-idle-limit idle_replication_slot_timeout is set (3600 s)",
      ]
    ) {
      $0.source.server.change {
        $0.settings["max_slot_wal_keep_size"] = "1024"
        $0.settings["idle_replication_slot_timeout"] = "3600"
      }
    },
    Case(
      "PluginMissing",
      [
        "error preflight.output-plugin test_decoding cannot be loaded: no such file",
        "error preflight.output-plugin /pg/lib has no test_decoding.so",
      ]
    ) {
      $0.cluster.change { $0.outputPluginError = "no such file" }
      $0.target.machine.change { $0.outputPlugin = .missing(directory: "/pg/lib") }
    },
    Case(
      "PluginWithoutMarkers",
      [
        "error preflight.postgres-version the source runs PostgreSQL 13, the target's programs are of version 15",
        "error preflight.output-plugin pgoutput carries no logical messages before PostgreSQL 14",
      ]
    ) {
      $0.migration.plugin = .pgoutput
      $0.source.role.change { $0.serverVersion = 139999 }
    },
    Case("PluginWithMarkers", []) { $0.migration.plugin = .pgoutput },
    Case(
      "AddressMeansAnotherServer",
      ["error preflight.other-server seen from new, 10.0.1.10:5432 is another server than seen from here"]
    ) { $0.replication = .value(.identified(systemIdentifier: "target-id")) },
    Case("SourceSubscribes", ["warning preflight.subscriptions enabled subscriptions: feed in shop"]) {
      $0.cluster.change { $0.subscriptions = [.init(name: "feed", database: "shop")] }
    },
    Case(
      "OthersReadTheSource",
      ["warning preflight.other-slots replication slots of others: capture (logical, in shop), standby (physical)"]
    ) {
      $0.cluster.change {
        $0.otherSlots = [.init(name: "capture", database: "shop"), .init(name: "standby", database: nil)]
      }
    },
    Case(
      "ATemplateOfUsers",
      ["warning preflight.template-databases databases that are templates: tenant"]
    ) {
      $0.cluster.change { $0.databases.append(.init(name: "tenant", isTemplate: true)) }
    },
    Case(
      "NamesThatUnicodeHoldsForTheSame",
      [
        "error preflight.equal-names databases caf\u{e9} and cafe\u{301} have one name, to Unicode: "
          + "only the bytes differ"
      ]
    ) {
      $0.cluster.change { $0.databases += [.init(name: "caf\u{e9}"), .init(name: "cafe\u{301}")] }
    },
  ]

  static let directoryCases = [
    Case("DataDirectoryIsAMountPoint", ["error preflight.mount-point /pg/data is a mount point"]) {
      $0.directory.change { $0.data.isMountPoint = true }
    },
    Case("ParentNotWritable", ["error preflight.parent-not-writable postgres cannot write to /pg"]) {
      $0.directory.change { $0.parent.ancestorIsWritable = false }
    },
    Case(
      "LeftoversOfAnotherMigration",
      ["warning preflight.leftovers left by an earlier run or another migration: /pg/data.pgconvoy-copy"]
    ) {
      $0.target.machine.change { $0.leftovers = ["/pg/data.pgconvoy-copy"] }
    },
    // 10 GB and 1 GB of WAL, and a tenth of that.
    Case("DiskTooSmall", ["error preflight.disk-space 12.0 GB free at /pg, 12.1 GB needed"]) {
      $0.directory.change { $0.parent.freeBytes = 12 << 30 }
    },
    Case(
      "NoRoomForBoth", ["warning preflight.old-data-first 12.0 GB free at /pg, 12.1 GB needed"]
    ) {
      $0.migration.oldData = .replace
      $0.taken = .value(TakenRoom(oldBytes: 1 << 30))
      $0.directory.change { $0.parent.freeBytes = 12 << 30 }
    },
    Case(
      "NoRoomEvenWithoutTheOldData",
      ["error preflight.disk-space 11.5 GB free at /pg, 12.1 GB needed, the old data not counted"]
    ) {
      $0.migration.oldData = .replace
      $0.taken = .value(TakenRoom(oldBytes: 1 << 29))
      $0.directory.change { $0.parent.freeBytes = 11 << 30 }
    },
    Case("RoomForBoth", []) {
      $0.migration.oldData = .replace
      $0.taken = .value(TakenRoom(oldBytes: 1 << 30))
    },
    // The old data is on another file system than the WAL that does not fit.
    Case(
      "OldDataFreesNothingThere",
      ["error preflight.disk-space 1.0 GB free at /wal, 1.1 GB needed, the old data not counted"]
    ) {
      $0.migration.oldData = .replace
      $0.taken = .value(TakenRoom(oldBytes: 9 << 30))
      $0.walDirectory = .value(path("/wal/x", .missing, ancestor: "/wal", device: "2", free: 1 << 30))
    },
    // An unfinished copy of an earlier run goes first.
    Case("RoomWithoutTheUnfinishedCopy", []) {
      $0.taken = .value(TakenRoom(copyBytes: [$0.directory.value?.parent.device ?? "": 1 << 30]))
      $0.directory.change { $0.parent.freeBytes = 12 << 30 }
    },
    Case("TheCopyIsMade", []) {
      $0.hasCopy = .value(true)
      $0.directory.change { $0.parent.freeBytes = 1 << 30 }
      $0.walDirectory = .value(path("/wal/x", isFilled: true, ancestor: "/wal", device: "2", free: 1 << 30))
    },
    Case("LinkIsNotReplaced", ["error preflight.linked-directory /pg/data is a symbolic link"]) {
      $0.migration.oldData = .replace
      $0.directory.change { $0.data.kind = .link }
    },
    Case("DiskLargeEnough", []) { $0.directory.change { $0.parent.freeBytes = 13 << 30 } },
    Case(
      "WALDiskTooSmall", ["error preflight.disk-space 1.0 GB free at /wal, 1.1 GB needed"]
    ) { $0.walDirectory = .value(path("/wal/x", .missing, ancestor: "/wal", device: "2", free: 1 << 30)) },
    Case(
      "TablespaceCollides",
      [
        "error preflight.tablespace no place for tablespace fast: /ssd is not empty",
        "error preflight.disk-space 1.0 GB free at /ssd, 2.2 GB needed",
      ]
    ) {
      $0.tablespaces = .value([
        TablespacePlace(
          name: "fast", location: "/ssd", bytes: 2 << 30,
          destination: path("/ssd", isFilled: true, device: "3", free: 1 << 30), isMapped: false)
      ])
    },
    Case(
      "TablespaceMappingOfNothing",
      [
        "warning preflight.tablespace-mapping base_backup.tablespace_mapping names /gone, where the source has no "
          + "tablespace"
      ]
    ) { $0.migration.baseBackup.tablespaceMapping = ["/gone": "/new"] },
  ]

  static let databaseCases = [
    Case("NothingSelected", ["error preflight.no-databases the inventory selects no database of the source"]) {
      $0.migration.databases.except = [Glob("*")]
    },
    Case(
      "SelectionIsPartial",
      [
        "warning preflight.unmatched-pattern no database of the source matches 'crm*'",
        "warning preflight.unselected-databases not selected: shop",
        "note preflight.closed-databases take no connections: frozen",
      ]
    ) {
      $0.migration.databases.include = [Glob("p*"), Glob("crm*")]
      $0.cluster.change { $0.databases.append(.init(name: "frozen", takesConnections: false)) }
    },
    Case("BytesWithoutEncoding", ["note preflight.sql-ascii encoding SQL_ASCII: shop"]) {
      $0.cluster.change { $0.databases[1].encoding = "SQL_ASCII" }
    },
    Case(
      "TransactionsThatHoldUpSlots",
      [
        "warning preflight.long-transaction pid 7 has had a transaction open for 90 s: UPDATE t",
        "warning preflight.prepared-transaction transaction 'g1' was prepared 5 s ago",
      ]
    ) {
      $0.cluster.change {
        $0.transactions = [.init(pid: 7, database: "shop", seconds: 90, hasWritten: true, query: "UPDATE t")]
        $0.prepared = [.init(gid: "g1", database: "shop", seconds: 5)]
      }
    },
    Case(
      "TablesWithoutIdentity",
      [
        "error preflight.no-replica-identity no replica identity, but updates or deletes: s.a, s.b, s.c, s.d, s.e "
          + "and 2 more",
        "warning preflight.no-replica-identity no replica identity: s.quiet (its primary key is deferrable), "
          + "s.lost (its identity index is gone)",
      ]
    ) {
      let busy = ["a", "b", "c", "d", "e", "f", "g"].map { DatabaseFacts.Table(name: "s.\($0)", changes: 3) }
      $0.databases[1].facts.change {
        $0.tablesWithoutIdentity =
          busy + [
            .init(name: "s.quiet", changes: 0, flaw: .deferrableKey),
            .init(name: "s.lost", changes: 0, flaw: .indexGone),
          ]
      }
    },
    Case(
      "FullIdentityOfWhatCannotBeCompared",
      ["warning preflight.full-identity-types REPLICA IDENTITY FULL, and types without '=': s.d (doc json)"]
    ) { $0.databases[1].facts.change { $0.fullWithoutEquality = [.init(name: "s.d", columns: "doc json")] } },
    Case(
      "WhatTheStreamDoesNotCarry",
      [
        "warning preflight.unlogged-tables unlogged: s.cache", "warning preflight.large-objects 1 large object",
        "warning preflight.always-firing ENABLE ALWAYS or REPLICA: trigger t on s.a",
        "warning preflight.transaction-ids columns with ids of transactions: s.outbox.xid",
        "note preflight.materialized-views materialized views: s.m",
        "note preflight.foreign-tables foreign tables: s.f",
      ]
    ) {
      $0.databases[1].facts.change {
        $0.unloggedTables = ["s.cache"]
        $0.largeObjects = 1
        $0.alwaysFiring = ["trigger t on s.a"]
        $0.transactionIDs = ["s.outbox.xid"]
        $0.materializedViews = ["s.m"]
        $0.foreignTables = ["s.f"]
      }
    },
    Case("DatabaseCannotBeRead", ["error postgres.refused cannot connect to invalid database"]) {
      $0.databases[1].facts = .failed(ConvoyError("postgres.refused", "cannot connect to invalid database"))
    },
  ]

  @Test("a host that does not answer is one finding, and what needs it is not made")
  func silentHost() throws {
    let error = ConvoyError("ssh.unreachable", "connection refused", at: .host("new"), hint: "is sshd running?")
    let reason = "host new: connection refused"
    let report = Preflight.evaluate(
      try soundFacts { facts in
        facts.target = SideFacts(
          account: .failed(error), installation: .notAsked(reason), configurationError: .notAsked(reason),
          machine: .notAsked(reason), role: .notAsked(reason),
          server: .notAsked(reason), authentication: .notAsked(reason), application: .notAsked(reason))
        facts.directory = .notAsked(reason)
        facts.tablespaces = .notAsked(reason)
        facts.walDirectory = .notAsked(reason)
        facts.taken = .notAsked(reason)
        facts.replication = .notAsked(reason)
        facts.libraries = .notAsked(reason)
        facts.keptFiles = .notAsked(reason)
      })
    #expect(report.findings.map(\.code) == ["ssh.unreachable"])
    #expect(report.findings.first?.remedy == "is sshd running?")
    let notMade = report.checks.filter { $0.notMade != nil }
    #expect(Set(notMade.map(\.notMade)) == [reason])
    #expect(notMade.map(\.name).filter { $0.hasPrefix("source.") || $0.hasPrefix("databases.") } == [])
    #expect(notMade.count == 29)
  }

  struct Refusal: Sendable {
    var output: String
    var code: String
    var remedy: String
  }

  @Test(
    "why the target cannot replicate",
    arguments: [
      Refusal(
        output: """
          psql: error: connection to server at "10.0.1.10", port 5432 failed: FATAL:  no pg_hba.conf entry for \
          replication connection from host "10.0.9.9", user "pgconvoy", SSL encryption
          connection to server at "10.0.1.10", port 5432 failed: FATAL:  no pg_hba.conf entry for replication \
          connection from host "10.0.9.9", user "pgconvoy", no encryption
          """, code: "preflight.replication-hba",
        remedy: "in /pg/data/pg_hba.conf on old: host replication pgconvoy 10.0.9.9/32 scram-sha-256; "
          + "then SELECT pg_reload_conf()"),
      // Whatever the server's language.
      Refusal(
        output: "psql: error: connection to server at \"10.0.1.10\", port 5432 failed: FATAL:  kein "
          + "pg_hba.conf-Eintrag für Replikationsverbindung von Host »10.0.9.9«, Benutzer »pgconvoy«, "
          + "SSL-Verschlüsselung", code: "preflight.replication-hba",
        remedy: "in /pg/data/pg_hba.conf on old: host replication pgconvoy 10.0.9.9/32 scram-sha-256; "
          + "then SELECT pg_reload_conf()"),
      Refusal(
        output: "psql: error: connection to server at \"2001:db8::1\", port 5432 failed: FATAL:  "
          + "ホスト\"2001:db8::9\"、ユーザー\"pgconvoy\"用のエントリがpg_hba.confにありません",
        code: "preflight.replication-hba",
        remedy: "in /pg/data/pg_hba.conf on old: host replication pgconvoy 2001:db8::9/128 scram-sha-256; "
          + "then SELECT pg_reload_conf()"),
      Refusal(
        output: "psql: error: connection to server at \"10.0.1.10\", port 5432 failed: FATAL:  password "
          + "authentication failed for user \"pgconvoy\"", code: "preflight.replication-password",
        remedy: "give pgconvoy the password of pgconvoy (passfile, password_env or password_command)"),
      Refusal(
        output: "psql: error: connection to server at \"10.0.1.10\", port 5432 failed: Connection refused\n"
          + "\tIs the server running on that host and accepting TCP/IP connections?",
        code: "preflight.replication-unreachable",
        remedy: "open 10.0.1.10:5432 for new: listen_addresses, firewall"),
      Refusal(
        output: "psql: error: connection to server at \"10.0.1.10\", port 5432 failed: FATAL:  sorry, too many clients",
        code: "preflight.replication-connection",
        remedy: "try on new: psql 'host=10.0.1.10 port=5432 user=pgconvoy replication=true' -c IDENTIFY_SYSTEM"),
    ])
  func refusal(_ refusal: Refusal) throws {
    let report = Preflight.evaluate(try soundFacts { $0.replication = .value(.refused(refusal.output)) })
    #expect(report.findings.map(\.code) == [refusal.code])
    #expect(report.findings.first?.remedy == refusal.remedy)
  }
}
