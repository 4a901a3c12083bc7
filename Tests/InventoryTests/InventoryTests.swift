import Foundation
import Inventory
import LogicalDecoding
import ReplicationModel
import TestSupport
import Testing

@Suite struct InventoryTests {
  static let full = """
    defaults:
      ssh: { user: root, identity_file: ~/.ssh/id_ed25519 }
      postgres: { port: 5433, user: convoy, passfile: secrets/pgpass }
      ddl: freeze
      cutover: { max_lag_bytes: 1MB }
    hosts:
      old:
        address: 10.0.0.1
        ssh: { user: 0644 }
      new:
        local: yes
        postgres: { address: /run/postgresql, password_command: "pass show pg", data_directory: /data }
    migrations:
      one:
        source: old
        target: new
        databases: [app, "shop_*"]
        except: [shop_test]
        services:
          - { name: web, manager: runit, directory: /opt/sv }
          - { name: jobs, manager: command, on: [source], start: up, stop: down, status: ask }
        cutover: { verify: counts, max_lag_seconds: 2m }
        base_backup: { max_rate: 50MB, tablespace_mapping: { /ts/a: /ts/b } }
        allow_restart: [source]
    groups:
      eu: [one]
    """

  @Test func defaultsMergeHostOverDefaultsKeyByKey() throws {
    let migration = try #require(try parse(Self.full).migration(named: "one"))
    let (old, new) = (migration.source, migration.target)
    #expect(old.ssh.user == "0644")
    #expect(old.ssh.identityFile == "/home/ada/.ssh/id_ed25519")
    #expect(old.ssh.knownHosts == "/home/ada/.ssh/known_hosts")
    #expect(old.ssh.port == 22 && old.ssh.agent && old.ssh.connectTimeout == .seconds(10))
    #expect(old.postgres.address == "10.0.0.1" && old.postgres.port == 5433 && old.postgres.user == "convoy")
    #expect(old.postgres.password == .passfile("/srv/fleet/secrets/pgpass"))
    #expect(old.transport == .ssh && old.serviceDirectory == "/etc/service")
    #expect(new.isLocal && new.address == "127.0.0.1")
    #expect(new.postgres.address == "/run/postgresql" && new.postgres.dataDirectory == "/data")
    #expect(new.postgres.password == .command("pass show pg"))
    #expect(new.postgres.maintenanceDatabase == "postgres" && new.postgres.sslMode == .prefer)
  }

  /// The words come first; a migration that says `workstation` has nothing of what `defaults` say for hosts.
  @Test(
    arguments: [
      ("on: target", "new", .runit), ("on: source, manager: detached", "old", .detached),
      ("on: third", "third", .runit), ("on: workstation", nil, .detached),
    ] as [(String, String?, SyncManager)])
  func whereTheWorkersRun(_ sync: String, _ host: String?, _ manager: SyncManager) throws {
    let inventory = try parse(
      """
      defaults: { sync: { manager: runit, directory: /srv/convoy } }
      hosts: { old: , new: , third: , here: { local: true } }
      migrations: { one: { source: old, target: new, sync: { \(sync) } } }
      """)
    let migration = try #require(inventory.migration(named: "one"))
    #expect(migration.sync.host == host && migration.sync.manager == manager)
    #expect(migration.sync.directory == (host == nil ? nil : "/srv/convoy"))
    #expect(migration.syncHosts.map(\.name) == ["old", "new", "third"])
  }

  @Test func migrationValues() throws {
    let migration = try #require(try parse(Self.full).migration(named: "one"))
    #expect(migration.ddl == .freeze && migration.oldData == .keep && migration.plugin == .testDecoding)
    #expect(migration.cutover.maxLagBytes == 1 << 20 && migration.cutover.maxLag == .seconds(120))
    #expect(migration.cutover.verify == .counts && migration.cutover.drainDeadline == .seconds(120))
    #expect(migration.baseBackup.maxRate == 50 << 20 && migration.baseBackup.checkpoint == .fast)
    #expect(migration.baseBackup.tablespaceMapping == ["/ts/a": "/ts/b"])
    #expect(migration.allowRestart == [.source])
    #expect(migration.services(on: .source).map(\.name) == ["web", "jobs"])
    #expect(migration.services(on: .target).map(\.name) == ["web"])
    #expect(migration.services[0].directory == "/opt/sv" && migration.services[0].commands == nil)
    #expect(migration.services[1].commands == ServiceCommands(start: "up", stop: "down", status: "ask"))
  }

  @Test(arguments: [("app", true), ("shop_eu", true), ("shop_test", false), ("other", false)])
  func databaseSelection(_ name: String, _ expected: Bool) throws {
    let migration = try #require(try parse(Self.full).migration(named: "one"))
    #expect(migration.databases.matches(name) == expected)
  }

  @Test func allDatabasesIsTheDefault() throws {
    let selection = try parse(good).migrations[0].databases
    #expect(selection == DatabaseSelection() && selection.matches("anything"))
  }

  @Test func originsTellWhereEachValueCameFrom() throws {
    let inventory = try parse(Self.full)
    let migration = try #require(inventory.migration(named: "one"))
    func line(_ origin: Origin?) -> String? { origin?.description }
    #expect(line(migration.source.origins["ssh.user"]) == "/srv/fleet/inventory.yml:9")
    #expect(line(migration.source.origins["ssh.identity_file"]) == "/srv/fleet/inventory.yml:2")
    #expect(line(migration.source.origins["postgres.password"]) == "/srv/fleet/inventory.yml:3")
    #expect(line(migration.source.origins["postgres.database"]) == "built in")
    #expect(line(migration.target.origins["transport"]) == "/srv/fleet/inventory.yml:11")
    #expect(line(migration.origins["ddl"]) == "/srv/fleet/inventory.yml:4")
    #expect(line(migration.origins["cutover.verify"]) == "/srv/fleet/inventory.yml:22")
    #expect(line(migration.origins["cutover.max_lag_bytes"]) == "/srv/fleet/inventory.yml:5")
    #expect(line(migration.origins["old_data"]) == "built in")
  }

  @Test func aRelativePathStartsAtTheInventorysDirectory() throws {
    let inventory = try FleetInventory.parse(
      good + "\ndefaults: { ssh: { identity_file: ./keys/id } }\n", path: "fleet/inventory.yml", user: someone)
    let here = FileManager.default.currentDirectoryPath
    #expect(inventory.hosts[0].ssh.identityFile == "\(here)/fleet/keys/id")
  }

  @Test func anInlinePasswordIsAWarningAndNeverShows() throws {
    let inventory = try parse(good + "\ndefaults: { postgres: { password: hunter2 } }\n")
    #expect(
      inventory.warnings.map(\.description) == [
        """
        warning: /srv/fleet/inventory.yml:6:35: the password stands in the inventory [inventory.inline-password]
        hint: use passfile, password_command or password_env
        """
      ])
    #expect(inventory.hosts[0].postgres.password == .inline(Secret("hunter2")))
    #expect(!"\(inventory)".contains("hunter2"))
    #expect(!String(reflecting: inventory).contains("hunter2"))
    var dumped = ""
    dump(inventory, to: &dumped)
    #expect(!dumped.contains("hunter2"))
    #expect(InventoryText.show(inventory, name: "one")?.contains("hunter2") == false)
  }

  @Test func passfilesThatLibpqWouldPassOver() throws {
    let directory = try TemporaryDirectory("inventory")
    let path = directory.path + "/pgpass"
    let text = good + "\ndefaults: { postgres: { passfile: \(path) } }\n"
    #expect(
      try parse(text).warnings.map(\.message) == ["cannot read the passfile \(path): no such file or directory"])
    #expect(FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600]))
    #expect(try parse(text).warnings == [])
    try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
    #expect(
      try parse(text).warnings.map(\.description) == [
        """
        warning: /srv/fleet/inventory.yml:6:35: group or others may read the passfile \(path) [inventory.passfile-mode]
        hint: libpq passes over it until you run: chmod 600 \(path)
        """
      ])
  }

  @Test func anchorsAndMergeKeysWork() throws {
    let inventory = try parse(
      """
      hosts:
        a: &a { address: 10.0.0.1, postgres: { port: 5433 } }
        b: { <<: *a, address: 10.0.0.2 }
      migrations: { one: { source: a, target: b } }
      """)
    #expect(inventory.hosts[1].postgres.port == 5433)
    #expect(inventory.hosts[1].address == "10.0.0.2")
  }

  @Test func theExampleIsValid() throws {
    let inventory = try FleetInventory.load(path: repositoryRoot + "/inventory/example.yml", user: someone)
    let migration = try #require(inventory.migration(named: "chef-eu"))
    #expect(migration.source.name == "chef-old" && migration.target.postgres.address == "10.0.1.20")
    #expect(migration.services.map(\.name) == ["opscode-erchef", "nginx"])
    #expect(migration.versionCheck == "cat /opt/opscode/version-manifest.txt | head -1")
    #expect(migration.target.postgres.dataDirectory == "/var/lib/postgresql/15/main")
    #expect(inventory.warnings == [])
  }

  @Test func theReferenceNamesEveryKey() throws {
    let text = try String(contentsOfFile: repositoryRoot + "/docs/reference/inventory.md", encoding: .utf8)
    for (section, keys) in InventoryKeys.all {
      let part = try #require(
        text.components(separatedBy: "\n## ").first { $0.hasPrefix("`\(section)`") }, "no section `\(section)`")
      for key in keys { #expect(part.contains("| `\(key)` |"), "`\(key)` is missing in section `\(section)`") }
    }
  }

  /// The words that a key takes, each in the key's own row.
  @Test func theReferenceNamesEveryWord() throws {
    func words<Word: CaseIterable & RawRepresentable<String>>(_: Word.Type) -> [String] {
      Word.allCases.map(\.rawValue)
    }
    let choices: [(section: String, key: String, words: [String])] = [
      ("host", "transport", words(Transport.self)), ("postgres", "via", words(PostgresRoute.self)),
      ("postgres", "sslmode", words(SSLMode.self)), ("postgres.service", "manager", words(ServiceManager.self)),
      ("services", "manager", words(ServiceManager.self)), ("services", "on", words(Side.self)),
      ("migration", "plugin", words(OutputPlugin.self)), ("migration", "ddl", words(DDLMode.self)),
      ("migration", "old_data", words(OldDataPolicy.self)), ("migration", "allow_restart", words(Side.self)),
      ("cutover", "verify", words(VerifyMode.self)), ("base_backup", "checkpoint", words(CheckpointMode.self)),
      ("sync", "manager", words(SyncManager.self)), ("sync", "on", words(Side.self) + [SyncSettings.workstation]),
    ]
    let text = try String(contentsOfFile: repositoryRoot + "/docs/reference/inventory.md", encoding: .utf8)
    for choice in choices {
      let row = text.components(separatedBy: "\n## ").first { $0.hasPrefix("`\(choice.section)`") }?
        .split(separator: "\n").first { $0.hasPrefix("| `\(choice.key)` |") }
      let type = try #require(row, "no `\(choice.key)` in `\(choice.section)`").split(separator: "|")[1]
      for word in choice.words {
        #expect(type.contains("`\(word)`"), "`\(word)` is missing in `\(choice.section)`, `\(choice.key)`")
      }
    }
  }

  /// `inventory show` has a row for every key, but for those that are told by another one's row.
  @Test func showHasEveryKey() throws {
    let inventory = try parse(good)
    let migration = try #require(InventoryText.show(inventory, name: "one"))
    let told: Set = [
      "local", "ssh.config", "postgres.passfile", "postgres.password_command", "postgres.password_env",
    ]
    let inner = [
      "hand_off": InventoryKeys.handOff, "cutover": InventoryKeys.cutover, "base_backup": InventoryKeys.baseBackup,
      "sync": InventoryKeys.sync, "ssh": InventoryKeys.ssh, "postgres": InventoryKeys.postgres,
    ]
    for key in InventoryKeys.migration + InventoryKeys.host {
      for name in inner[key]?.map({ key + "." + $0 }) ?? [key] where !told.contains(name) {
        #expect(migration.contains("\n  \(name) "), "no row \(name)")
      }
    }
  }
}

@Suite struct PatternTests {
  static let fleet = """
    hosts: { a: , b: , c: , d: , e: , f: , g: , h: }
    migrations:
      chef-us: { source: a, target: b }
      chef-eu: { source: c, target: d }
      shop-eu: { source: e, target: f }
      test: { source: g, target: h }
    groups:
      eu: [shop-eu, chef-eu]
      none: []
    """

  @Test(arguments: [
    ("all", ["chef-us", "chef-eu", "shop-eu", "test"]), ("test", ["test"]), ("eu", ["chef-eu", "shop-eu"]),
    ("chef-*", ["chef-us", "chef-eu"]), ("test,chef-us", ["chef-us", "test"]), ("chef-?u", ["chef-eu"]),
    ("[c-s]*", ["chef-us", "chef-eu", "shop-eu"]), ("all,!eu", ["chef-us", "test"]),
    ("!eu", ["chef-us", "test"]), ("chef-*,&eu", ["chef-eu"]), ("&eu", ["chef-eu", "shop-eu"]),
    ("!test, all", ["chef-us", "chef-eu", "shop-eu"]), ("e?", ["chef-eu", "shop-eu"]),
    ("eu,!chef-*", ["shop-eu"]), ("all,&chef-*,&eu", ["chef-eu"]),
  ])
  func patterns(_ pattern: String, _ expected: [String]) throws {
    #expect(try parse(Self.fleet).migrations(matching: pattern).map(\.name) == expected)
  }

  @Test(arguments: [
    (
      "chef-ue",
      "error: pattern 'chef-ue' matches no migration [inventory.unmatched-pattern]\nhint: did you mean 'chef-eu'?"
    ),
    (
      "zzz*",
      "error: pattern 'zzz*' matches no migration [inventory.unmatched-pattern]\nhint: known names: chef-us, chef-eu, shop-eu, test, eu, none"
    ),
    (
      "all,!tset",
      "error: pattern 'tset' matches no migration [inventory.unmatched-pattern]\nhint: did you mean 'test'?"
    ),
    (
      "test,!test",
      "error: pattern 'test,!test' leaves no migration [inventory.unmatched-pattern]\nhint: known names: chef-us, chef-eu, shop-eu, test, eu, none"
    ),
    (
      "",
      "error: pattern '' leaves no migration [inventory.unmatched-pattern]\nhint: known names: chef-us, chef-eu, shop-eu, test, eu, none"
    ),
    (
      "none",
      "error: pattern 'none' leaves no migration [inventory.unmatched-pattern]\nhint: known names: chef-us, chef-eu, shop-eu, test, eu, none"
    ),
  ])
  func patternsThatMatchNothing(_ pattern: String, _ expected: String) throws {
    let inventory = try parse(Self.fleet)
    do {
      _ = try inventory.migrations(matching: pattern)
      Issue.record("no error")
    } catch {
      #expect(error.description == expected)
      #expect(error.exitStatus == 2)
    }
  }
}

@Suite struct InventoryTextTests {
  @Test func list() throws {
    #expect(
      InventoryText.list(try parse(InventoryTests.full))
        == """
        MIGRATION  SOURCE               TARGET                      DATABASES                    GROUPS
        one        old (10.0.0.1:5433)  new (/run/postgresql:5433)  app,shop_* except shop_test  eu

        """)
  }

  @Test func showTellsValuesAndOrigins() throws {
    let shown = try #require(InventoryText.show(try parse(InventoryTests.full), name: "old"))
    #expect(
      shown == """
        host old  (/srv/fleet/inventory.yml:7)
          address                       10.0.0.1                                 /srv/fleet/inventory.yml:8
          transport                     ssh                                      built in
          ssh.user                      0644                                     /srv/fleet/inventory.yml:9
          ssh.port                      22                                       built in
          ssh.identity_file             /home/ada/.ssh/id_ed25519                /srv/fleet/inventory.yml:2
          ssh.known_hosts               /home/ada/.ssh/known_hosts               built in
          ssh.agent                     true                                     built in
          ssh.identities_only           false                                    built in
          ssh.connect_timeout           10s                                      built in
          ssh.passphrase_command        -                                        built in
          ssh.proxy_jump                -                                        built in
          postgres.address              10.0.0.1                                 built in
          postgres.via                  direct                                   built in
          postgres.replication_address  10.0.0.1                                 built in
          postgres.port                 5433                                     /srv/fleet/inventory.yml:3
          postgres.user                 convoy                                   /srv/fleet/inventory.yml:3
          postgres.database             postgres                                 built in
          postgres.os_user              postgres                                 built in
          postgres.data_directory       -                                        built in
          postgres.bin_directory        -                                        built in
          postgres.config_file          -                                        built in
          postgres.socket_directory     -                                        built in
          postgres.log_file             -                                        built in
          postgres.service              -                                        built in
          postgres.password             from passfile /srv/fleet/secrets/pgpass  /srv/fleet/inventory.yml:3
          postgres.sslmode              prefer                                   built in
          postgres.connect_timeout      10s                                      built in
          service_directory             /etc/service                             built in

        """)
  }

  @Test func showOfAMigrationHoldsBothHosts() throws {
    let inventory = try parse(InventoryTests.full)
    let shown = try #require(InventoryText.show(inventory, name: "one"))
    #expect(shown.contains("migration one  (/srv/fleet/inventory.yml:14)\n"))
    #expect(shown.contains("\n\nhost old  ("))
    #expect(shown.contains("\n\nhost new  ("))
    #expect(InventoryText.show(inventory, name: "eu")?.contains("one ") == true)
    #expect(InventoryText.show(inventory, name: "nothing") == nil)
  }
}
