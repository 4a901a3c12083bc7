import Inventory
import ReplicationModel
import Testing

/// Every mistake that a person can make in an inventory, and what they read then, to the letter.
@Suite struct InventoryErrorTests {
  struct Mistake: CustomTestStringConvertible, Sendable {
    let text: String
    let expected: String
    var testDescription: String { expected }

    init(_ text: String, _ expected: String) {
      self.text = text
      self.expected = expected
    }
  }

  /// `good` with one more line in a migration, a host, or at the end.
  static func migration(_ line: String) -> String {
    """
    hosts: { old: { address: 10.0.0.1 }, new: { address: 10.0.0.2 } }
    migrations:
      one:
        source: old
        target: new
        \(line)
    """
  }

  static func host(_ line: String) -> String {
    """
    hosts:
      new: { address: 10.0.0.2 }
      old:
        \(line)
    migrations: { one: { source: old, target: new } }
    """
  }

  static let structure = [
    Mistake(
      "[]", "error: inventory.yml:1:1: the inventory must be a mapping, not a list [inventory.wrong-type]"),
    Mistake(
      "hosts: { a: }\n",
      """
      error: inventory.yml:1:1: the inventory has no 'migrations' [inventory.missing-key]
      hint: add 'migrations'
      """),
    Mistake(
      "hosts:\nmigrations: { one: { source: a, target: b } }\n",
      """
      error: inventory.yml:1:1: hosts is empty [inventory.empty]
      hint: describe at least one
      """),
    Mistake(
      "hosts: { a: }\nmigrations: {}\n",
      """
      error: inventory.yml:2:1: migrations is empty [inventory.empty]
      hint: describe at least one
      """),
    Mistake(
      good + "\nmigration: {}\n",
      """
      error: inventory.yml:6:1: unknown key 'migration' in the inventory [inventory.unknown-key]
      hint: did you mean 'migrations'?
      """),
    Mistake(
      good + "\ndefaults: { postgres: { prot: 5432 } }\n",
      """
      error: inventory.yml:6:25: unknown key 'prot' in postgres of defaults [inventory.unknown-key]
      hint: did you mean 'port'?
      """),
    Mistake(
      good + "\ndefaults: { postgres: { port: high } }\n",
      "error: inventory.yml:6:31: port must be a number from 1 to 65535, not 'high' [inventory.wrong-type]"),
    Mistake(
      good + "\ngroups: { eu: [onee] }\n",
      """
      error: inventory.yml:6:16: group eu names an unknown migration 'onee' [inventory.unknown-migration]
      hint: did you mean 'one'?
      """),
    Mistake(
      good + "\ngroups: { one: [one] }\n",
      """
      error: inventory.yml:6:11: group 'one' has the name of a migration [inventory.name-clash]
      hint: patterns could not tell them apart; rename one of the two
      """),
    Mistake(
      good + "\ngroups: { all: [one] }\n",
      """
      error: inventory.yml:6:11: 'all' cannot be a name in groups [inventory.bad-name]
      hint: 'all' means every migration
      """),
    Mistake(
      good + "\ngroups: { eu: one }\n",
      "error: inventory.yml:6:15: eu must be a list, not 'one' [inventory.wrong-type]"),
    Mistake(
      good + "\n  'a,b': { source: old, target: new }\n",
      """
      error: inventory.yml:6:3: 'a,b' cannot be a name in migrations [inventory.bad-name]
      hint: letters, digits, '.', '_' and '-', with a letter, digit or '_' first
      """),
  ]

  static let hosts = [
    Mistake(
      host("adress: 10.0.0.1"),
      """
      error: inventory.yml:4:5: unknown key 'adress' in host old [inventory.unknown-key]
      hint: did you mean 'address'?
      """),
    Mistake(
      host("colour: red"),
      """
      error: inventory.yml:4:5: unknown key 'colour' in host old [inventory.unknown-key]
      hint: known keys: address, local, transport, ssh, postgres, service_directory
      """),
    Mistake(host("address:"), "error: inventory.yml:4:13: address must be text, not nothing [inventory.wrong-type]"),
    Mistake(host("address: [a]"), "error: inventory.yml:4:14: address must be text, not a list [inventory.wrong-type]"),
    Mistake(host("ssh: root"), "error: inventory.yml:4:10: ssh must be a mapping, not 'root' [inventory.wrong-type]"),
    Mistake(
      host("ssh: { port: 70000 }"),
      "error: inventory.yml:4:18: port must be a number from 1 to 65535, not '70000' [inventory.wrong-type]"),
    Mistake(
      host("ssh: { agent: maybe }"),
      "error: inventory.yml:4:19: agent must be true or false, not 'maybe' [inventory.wrong-type]"),
    Mistake(
      host("ssh: { connect_timeout: soon }"),
      "error: inventory.yml:4:29: connect_timeout must be a duration such as 30s, 5m or 2h, not 'soon' [inventory.wrong-type]"
    ),
    Mistake(
      host("ssh: { identity_file: ~bob/key }"),
      """
      error: inventory.yml:4:27: identity_file names another user's home, '~bob/key' [inventory.bad-path]
      hint: only ~/ is expanded; write the whole path
      """),
    Mistake(
      host("transport: telnet"),
      "error: inventory.yml:4:16: transport must be local or ssh, not 'telnet' [inventory.wrong-type]"),
    Mistake(
      host("transport: shh"),
      """
      error: inventory.yml:4:16: transport must be local or ssh, not 'shh' [inventory.wrong-type]
      hint: did you mean 'ssh'?
      """),
    Mistake(
      host("{ local: true, transport: ssh }"),
      """
      error: inventory.yml:4:7: local and transport contradict each other [inventory.conflicting-keys]
      hint: keep one of the two
      """),
    Mistake(
      host("postgres: { data_directory: data }"),
      """
      error: inventory.yml:4:33: data_directory must be an absolute path on the host, not 'data' [inventory.bad-path]
      hint: write the whole path, from /
      """),
    Mistake(
      host("postgres: { sslmode: verify }"),
      "error: inventory.yml:4:26: sslmode must be disable or allow or prefer or require or verify-ca or verify-full, not 'verify' [inventory.wrong-type]"
    ),
    Mistake(
      host("postgres: { passfile: x, password_env: Y }"),
      """
      error: inventory.yml:4:30: password_env and passfile both say where the password comes from [inventory.conflicting-keys]
      hint: keep one of the two
      """),
  ]

  static let migrations = [
    Mistake(
      "hosts: { a: }\nmigrations:\n  one: { source: a }\n",
      """
      error: inventory.yml:3:3: migration one has no 'target' [inventory.missing-key]
      hint: add 'target'
      """),
    Mistake(
      "hosts: { old: , new: }\nmigrations:\n  one: { source: odl, target: new }\n",
      """
      error: inventory.yml:3:18: unknown host 'odl' [inventory.unknown-host]
      hint: did you mean 'old'?
      """),
    Mistake(
      "hosts: { old: , new: }\nmigrations:\n  one: { source: new, target: new }\n",
      """
      error: inventory.yml:3:31: source and target of migration one are the same host, new [inventory.same-host]
      hint: a migration needs two hosts
      """),
    Mistake(
      "hosts: { old: { address: h }, new: { address: h } }\nmigrations:\n  one: { source: old, target: new }\n",
      """
      error: inventory.yml:3:31: source and target of migration one are the same server, h:5432 [inventory.same-server]
      hint: give old and new addresses or ports of their own
      """),
    Mistake(
      good + "\n  two: { source: old, target: new }\n",
      """
      error: inventory.yml:6:31: host new is already the target of migration one [inventory.shared-target]
      hint: the copy replaces the target's whole data directory; each migration needs a target of its own
      """),
    Mistake(
      migration("databases: []"),
      """
      error: inventory.yml:6:16: databases is empty [inventory.empty]
      hint: name at least one, or write 'databases: all'
      """),
    Mistake(
      migration("databases: chef"),
      "error: inventory.yml:6:16: databases must be all or a list of names, not 'chef' [inventory.wrong-type]"),
    Mistake(
      migration("databases: [a, [b]]"),
      "error: inventory.yml:6:20: databases must be a list of texts, not of a list [inventory.wrong-type]"),
    Mistake(migration("except: a"), "error: inventory.yml:6:13: except must be a list, not 'a' [inventory.wrong-type]"),
    Mistake(
      migration("plugin: wal2json"),
      "error: inventory.yml:6:13: plugin must be test_decoding or pgoutput, not 'wal2json' [inventory.wrong-type]"),
    Mistake(
      migration("ddl: freze"),
      """
      error: inventory.yml:6:10: ddl must be report or freeze or replicate, not 'freze' [inventory.wrong-type]
      hint: did you mean 'freeze'?
      """),
    Mistake(
      migration("old_data: drop"),
      "error: inventory.yml:6:15: old_data must be keep or replace, not 'drop' [inventory.wrong-type]"),
    Mistake(
      migration("cutover: { max_lag_bytes: lots }"),
      "error: inventory.yml:6:31: max_lag_bytes must be a size such as 100kB, 16MB or 1GB, not 'lots' [inventory.wrong-type]"
    ),
    Mistake(
      migration("hand_off: { deadlin: 5m }"),
      """
      error: inventory.yml:6:17: unknown key 'deadlin' in hand_off of migration one [inventory.unknown-key]
      hint: did you mean 'deadline'?
      """),
    Mistake(
      migration("base_backup: { max_rate: 1kB }"),
      "error: inventory.yml:6:30: max_rate must be from 32kB to 1GB a second, not '1kB' [inventory.wrong-type]"),
    Mistake(
      migration("base_backup: { tablespace_mapping: { /a: b } }"),
      """
      error: inventory.yml:6:46: tablespace_mapping must be an absolute path on the host, not 'b' [inventory.bad-path]
      hint: write the whole path, from /
      """),
    Mistake(
      migration("allow_restart: [sourse]"),
      """
      error: inventory.yml:6:21: allow_restart must be source or target, not 'sourse' [inventory.wrong-type]
      hint: did you mean 'source'?
      """),
    Mistake(
      migration("sync: { on: targte }"),
      """
      error: inventory.yml:6:17: unknown host 'targte' [inventory.unknown-host]
      hint: did you mean 'target'?
      """),
    Mistake(
      migration("sync: { on: target, manager: upstart }"),
      "error: inventory.yml:6:34: manager must be systemd or runit or detached, not 'upstart' [inventory.wrong-type]"),
    Mistake(
      migration("sync: { manager: runit }"),
      """
      error: inventory.yml:6:13: manager is for a sync process on a host, not for one on the workstation [inventory.conflicting-keys]
      hint: name the host with 'on'; a service of your own runs 'pgconvoy sync' here
      """),
    Mistake(
      migration("sync: { on: workstation, directory: /srv }"),
      """
      error: inventory.yml:6:30: directory is for a sync process on a host, not for one on the workstation [inventory.conflicting-keys]
      hint: name the host with 'on'; a service of your own runs 'pgconvoy sync' here
      """),
    Mistake(
      migration("sync: { on: target, directory: srv }"),
      """
      error: inventory.yml:6:36: directory must be an absolute path on the host, not 'srv' [inventory.bad-path]
      hint: write the whole path, from /
      """),
    Mistake(
      "hosts: { old: { address: 10.0.0.1 }, new: { local: true } }\n"
        + "migrations: { one: { source: old, target: new, sync: { on: new } } }",
      """
      error: inventory.yml:2:60: a sync process is put on a host through SSH, and host new is this machine [inventory.sync-without-ssh]
      hint: write 'on: workstation'
      """),
  ]

  static let services = [
    Mistake(
      migration("services: nginx"),
      "error: inventory.yml:6:15: services must be a list, not 'nginx' [inventory.wrong-type]"),
    Mistake(
      migration("services: [nginx]"),
      "error: inventory.yml:6:16: a service must be a mapping, not 'nginx' [inventory.wrong-type]"),
    Mistake(
      migration("services: [{ name: nginx }]"),
      """
      error: inventory.yml:6:16: a service has no 'manager' [inventory.missing-key]
      hint: add 'manager'
      """),
    Mistake(
      migration("services: [{ name: nginx, manager: system }]"),
      """
      error: inventory.yml:6:40: manager must be runit or systemd or sysvinit or command, not 'system' [inventory.wrong-type]
      hint: did you mean 'systemd'?
      """),
    Mistake(
      migration("services: [{ name: nginx, manager: systemd, on: [] }]"),
      """
      error: inventory.yml:6:53: on is empty [inventory.empty]
      hint: name source, target or both
      """),
    Mistake(
      migration("services: [{ name: x, manager: systemd, start: run }]"),
      """
      error: inventory.yml:6:45: start is for manager command, not systemd [inventory.conflicting-keys]
      hint: remove it, or write 'manager: command'
      """),
    Mistake(
      migration("services: [{ name: x, manager: systemd, directory: /sv }]"),
      """
      error: inventory.yml:6:45: directory is for manager runit, not systemd [inventory.conflicting-keys]
      hint: remove it
      """),
    Mistake(
      migration("services: [{ name: x, manager: command, start: a, stop: b }]"),
      """
      error: inventory.yml:6:16: service x has no 'status' [inventory.missing-key]
      hint: manager command needs start, stop and status
      """),
    Mistake(
      migration("services: [{ name: x, manager: runit }, { name: x, manager: runit, on: [source] }]"),
      """
      error: inventory.yml:6:45: service x is listed twice [inventory.duplicate-service]
      hint: remove one, or give them different sides with 'on'
      """),
    Mistake(
      migration("services: [{ name: postgresql@15-main.service, manager: systemd }]"),
      """
      error: inventory.yml:6:24: service postgresql@15-main.service is PostgreSQL itself [inventory.service-is-postgresql]
      hint: list only the services that use the databases; what runs PostgreSQL stands in postgres.service of its host
      """),
  ]

  @Test(arguments: structure + hosts + migrations + services)
  func oneMistakeIsOneError(_ mistake: Mistake) {
    #expect(errors(in: mistake.text) == mistake.expected)
  }

  @Test func independentMistakesAreAllTold() {
    let text = """
      hosts:
        old: { adress: 10.0.0.1 }
        new: { address: 10.0.0.2, postgres: { port: x } }
      migrations:
        one: { source: old, target: new, plugin: x }
      """
    #expect(
      errors(in: text) == """
        error: inventory.yml:2:10: unknown key 'adress' in host old [inventory.unknown-key]
        hint: did you mean 'address'?
        error: inventory.yml:3:47: port must be a number from 1 to 65535, not 'x' [inventory.wrong-type]
        error: inventory.yml:5:44: plugin must be test_decoding or pgoutput, not 'x' [inventory.wrong-type]
        """)
  }

  @Test func aMistakeInDefaultsIsToldOnceHoweverManyHostsShareIt() {
    let text = good + "\ndefaults: { ssh: { port: no } }\n"
    #expect(
      errors(in: text)
        == "error: inventory.yml:6:26: port must be a number from 1 to 65535, not 'no' [inventory.wrong-type]")
  }

  @Test func aServiceThatOnlySoundsLikePostgresIsFine() throws {
    let inventory = try parse(Self.migration("services: [{ name: postgres-exporter, manager: systemd }]"))
    #expect(inventory.migrations[0].services.map(\.name) == ["postgres-exporter"])
  }
}
