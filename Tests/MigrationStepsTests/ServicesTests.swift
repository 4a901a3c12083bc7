import BlockingIO
import Glibc
import Inventory
import Journal
import Lab
import MigrationFixtures
import Playbook
import RemoteHost
import ReplicationModel
import TestSupport
import Testing

@testable import HostAdmin
@testable import MigrationCore
@testable import MigrationSteps

/// Services under their real managers, stopped and started by the steps. What the other managers are asked: HostAdminTests.
@Suite(.serialized) struct ServicesTests {
  /// A directory with a runit of its own; its supervisors end with it.
  private final class Supervised {
    private let files: TemporaryDirectory
    private var supervisors: [Program] = []

    var directory: String { files.path }

    init() throws {
      files = try TemporaryDirectory("services", mode: 0o755)
      try makeDirectory(directory + "/state", mode: 0o755)
      try makeDirectory(directory + "/service", mode: 0o755)
    }

    /// A service that says in `log` when it starts and when it ends.
    func add(_ name: String, isDown: Bool = false, run: String? = nil) throws {
      let service = "service/\(name)"
      try makeDirectory("\(directory)/\(service)", mode: 0o755)
      let log = "\(directory)/log"
      try write("#!/bin/sh\n" + (run ?? "echo 'up \(name)' >>\(log)\nexec sleep 1000") + "\n", "\(service)/run")
      if run == nil { try write("#!/bin/sh\necho 'down \(name)' >>\(log)\n", "\(service)/finish") }
      if isDown { try write("", "\(service)/down") }
      supervisors.append(try Program(["/usr/bin/runsv", "\(directory)/\(service)"]))
    }

    func write(_ text: String, _ name: String) throws { try files.write(text, to: name, mode: 0o755) }

    var log: [String] { ((try? files.read("log")) ?? "").split(separator: "\n").map(String.init) }

    /// Waits until runit says so of a service; it takes a moment to begin.
    func reaches(_ name: String, _ state: String) async throws -> Bool {
      do {
        try await eventually("\(name) \(state)", within: .seconds(5), every: .milliseconds(20)) {
          try await LocalHost().run(RemoteCommand(["sv", "status", "\(directory)/service/\(name)"])).text
            .hasPrefix(state + ":")
        }
        return true
      } catch is TestFailure {
        return false
      }
    }

    /// A supervisor that is told to end ends its service, then itself.
    func end() {
      while let supervisor = supervisors.popLast() { supervisor.end(within: .seconds(30)) }
    }
  }

  private func withServices(_ body: (Supervised) async throws -> Void) async throws {
    let supervised = try Supervised()
    defer { supervised.end() }
    try await body(supervised)
  }

  /// A context as a new process would make it: everything that it knows is in the state directory.
  private func context(_ supervised: Supervised, _ services: String) async throws -> MigrationContext {
    let migration = try migration(
      in: """
        hosts:
          old: { local: true, service_directory: \(supervised.directory)/service }
          new: { local: true, service_directory: \(supervised.directory)/service, postgres: { port: 2 } }
        migrations:
          one:
            source: old
            target: new
            services: \(services)
        """)
    let context = try await migrationContext(migration, state: supervised.directory + "/state/journal")
    try await context.journal.perform { file throws(ConvoyError) in
      try file.registerMigration("one", source: "old", target: "new")
    }
    return context
  }

  private func commands(_ step: some Step<MigrationContext>, _ context: MigrationContext) async throws -> [String] {
    try await step.plan(context).map(\.text)
  }

  // MARK: runit

  @Test func onlyWhatWasRunningStartsAgainInReverseAlsoFromAnotherProcess() async throws {
    try await withServices { supervised in
      for name in ["web", "app", "queue"] { try supervised.add(name, isDown: name == "app") }
      for name in ["web", "queue"] { #expect(try await supervised.reaches(name, "run")) }
      #expect(try await supervised.reaches("app", "down"))
      let services = "[web, app, queue]".replacing("web", with: "{ name: web, manager: runit }")
        .replacing("app", with: "{ name: app, manager: runit }")
        .replacing("queue", with: "{ name: queue, manager: runit }")
      let first = try await context(supervised, services)
      let stop = StopServicesStep(side: .source)
      let directory = supervised.directory + "/service/"
      #expect(
        try await commands(stop, first) == ["sv -w 30 stop \(directory)web", "sv -w 30 stop \(directory)queue"])
      #expect(
        try await commands(StartServicesStep(side: .source), first)
          == ["sv -w 30 start \(directory)queue", "sv -w 30 start \(directory)web"])
      #expect(try await stop.run(first).summary == "stopped web, queue")
      #expect(try await stop.isDone(first))
      await first.close()

      // The workstation died; a second stop finds everything down and must not forget what ran.
      let second = try await context(supervised, services)
      _ = try await stop.run(second)
      let start = StartServicesStep(side: .source)
      #expect(
        try await commands(start, second) == ["sv -w 30 start \(directory)queue", "sv -w 30 start \(directory)web"])
      #expect(try await start.run(second).summary == "started queue, web")
      #expect(try await start.isDone(second))
      #expect(try await supervised.reaches("app", "down"))
      let log = supervised.log
      #expect(log.suffix(4) == ["down web", "down queue", "up queue", "up web"], "\(log)")
      await second.close()
    }
  }

  /// Between the list of what is to be done and its turn lies whatever a cutover does before it holds anybody up.
  @Test func whatRunsIsSeenWhenItIsStopped() async throws {
    try await withServices { supervised in
      for name in ["web", "app"] { try supervised.add(name, isDown: true) }
      for name in ["web", "app"] { #expect(try await supervised.reaches(name, "down")) }
      let context = try await context(supervised, "[{ name: web, manager: runit }, { name: app, manager: runit }]")
      let stop = StopServicesStep(side: .source)
      let deeds = try await stop.deeds(context)
      _ = try await LocalHost().runChecked(
        RemoteCommand(["sv", "-w", "30", "start", "\(supervised.directory)/service/app"]))
      let performer = DeedPerformer(context, step: stop.name)
      try await performer.perform(deeds)
      #expect(try await stop.result(context, performer.found).summary == "stopped app")
      #expect(supervised.log == ["up app", "down app"])
      #expect(try await stop.undo(context) == .undone("started app again"))
      await context.close()
    }
  }

  @Test func undoStartsWhatWasStoppedAndRefusesToForgetOne() async throws {
    try await withServices { supervised in
      try supervised.add("web")
      #expect(try await supervised.reaches("web", "run"))
      let first = try await context(supervised, "[{ name: web, manager: runit }]")
      _ = try await StopServicesStep(side: .source).run(first)
      let changed = try await context(supervised, "[]")
      let error = await #expect(throws: ConvoyError.self) {
        _ = try await StopServicesStep(side: .source).undo(changed)
      }
      #expect(error?.code == "service.unknown")
      #expect(try await StopServicesStep(side: .source).undo(first) == .undone("started web again"))
      #expect(try await supervised.reaches("web", "run"))
      await first.close()
      await changed.close()
    }
  }

  // MARK: command

  @Test func commandsOfOnesOwn() async throws {
    try await withServices { supervised in
      let file = supervised.directory + "/running"
      try supervised.write("", "running")
      func service(_ start: String, _ stop: String) -> String {
        "[{ name: chef, manager: command, start: \"\(start)\", stop: \"\(stop)\", status: \"test -e \(file)\" }]"
      }
      let good = try await context(supervised, service("touch \(file)", "rm \(file)"))
      #expect(try await commands(StopServicesStep(side: .source), good) == ["rm \(file)"])
      _ = try await StopServicesStep(side: .source).run(good)
      #expect(!fileExists(file))

      let pretending = try await context(supervised, service("true", "true"))
      let started = await #expect(throws: ConvoyError.self) {
        _ = try await StartServicesStep(side: .source).run(pretending)
      }
      #expect(
        started?.description == """
          error: host old: service chef did not start [service.not-started]
          hint: start it by hand, then run the playbook again
          """)
      _ = try await StartServicesStep(side: .source).run(good)
      #expect(fileExists(file))

      let stuck = try await context(supervised, service("true", "echo busy >&2; exit 1"))
      let stopped = await #expect(throws: ConvoyError.self) {
        _ = try await StopServicesStep(side: .source).run(stuck)
      }
      #expect(
        stopped?.description == """
          error: host old: service chef did not stop: busy [service.not-stopped]
          hint: stop it by hand and run the playbook again
          """)
      for context in [good, pretending, stuck] { await context.close() }
    }
  }

  // MARK: PostgreSQL itself

  @Test func aPostgreSQLThatRunitRunsIsStoppedAndStartedByRunit() async throws {
    try await withServices { supervised in
      let cluster = try await onDedicatedThread("initdb") { try Cluster() }
      let user = try Prerequisites.postgresAccount().name
      let (data, bin) = (cluster.dataDirectory, cluster.options.binDirectory)
      let become = geteuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --clear-groups " : ""
      try supervised.add("postgresql", run: "exec 2>&1\nexec \(become)\(bin)/postgres -D \(data)")
      let inventory = try FleetInventory.parse(
        """
        hosts:
          old: { local: true }
          new:
            local: true
            postgres:
              port: 2
              os_user: \(user)
              service: { name: postgresql, manager: runit, directory: \(supervised.directory)/service }
        migrations: { one: { source: old, target: new } }
        """, path: "/inventory.yml", user: LocalUser(name: "u", home: "/"))
      let host = try #require(inventory.migration(named: "one")).target
      let server = ServerControl(
        host: host, remote: LocalHost(), dataDirectory: data, binDirectory: bin, configFile: nil)
      try await server.start()
      #expect(try await supervised.reaches("postgresql", "run"))
      #expect(server.stopCommand().text == "sv -w 30 stop \(supervised.directory)/service/postgresql")
      try await server.stop()
      // A pg_ctl stop would have been followed by runit's next start.
      #expect(try await supervised.reaches("postgresql", "down"))
      #expect(try await !server.isRunning())
      try await server.start()
      #expect(try await server.isRunning())
      #expect(try await supervised.reaches("postgresql", "run"))
      try await server.stop()
    }
  }
}
