import HostAdmin
package import Inventory
package import Journal
package import Logging
import Playbook
package import PostgresClient
package import RemoteHost
package import ReplicationModel

/// What the steps of one migration work with: its inventory entry, connections that are made when first needed, the
/// journal, and a voice.
package actor MigrationContext: StepContext {
  package nonisolated let migration: Inventory.Migration
  package nonisolated let journal: Journal
  package nonisolated let environment: RunEnvironment
  package nonisolated let logger: Logger
  /// One line of progress for whoever watches.
  package nonisolated let progress: @Sendable (String) -> Void

  /// By the hosts' names.
  private var remotes: [String: any RemoteHost] = [:]
  private var sessions: [SessionKey: PostgresSession] = [:]
  private var passwords: [Side: String] = [:]
  private var tunnels: [Side: PostgresTunnel] = [:]
  /// What deeds of this play will have done by the time that later ones are performed.
  private var foretold: Set<Foretold> = []
  /// What watches over a side while the steps of a play do their work.
  private var companions: [Side: any Companion] = [:]
  /// Of both sides, as `server(_:)` has found them, and the text of a quarantined target's settings once it is open.
  var controls: [Side: ServerControl] = [:]
  var settingsToOpen: String??

  private var recordKeeper: (any RecordKeeper)?

  /// By the name's bytes: names that are the same to Unicode are two databases.
  private struct SessionKey: Hashable {
    var side: Side
    var database: [UInt8]

    init(side: Side, database: String) {
      self.side = side
      self.database = Array(database.utf8)
    }
  }

  package nonisolated var migrationName: String { migration.name }

  package init(
    migration: Inventory.Migration, journal: Journal, environment: RunEnvironment, logger: Logger,
    progress: @escaping @Sendable (String) -> Void
  ) {
    self.migration = migration
    self.journal = journal
    self.environment = environment
    var logger = logger
    logger[metadataKey: "migration"] = "\(migration.name)"
    self.logger = logger
    self.progress = progress
  }

  // MARK: hosts

  /// The host's command channel, connected on first use and again when its connection has ended.
  package func remote(_ side: Side) async throws -> any RemoteHost { try await remote(migration.host(side)) }

  /// As `remote`, of a host that need be neither side.
  ///
  /// - Throws: `sync.unknown-host` where the inventory has no such host, or no SSH to it.
  package func remote(named name: String) async throws -> any RemoteHost {
    let hosts = Side.allCases.map { migration.host($0) } + migration.syncHosts
    guard let host = hosts.first(where: { $0.name == name }) else {
      throw ConvoyError(
        "sync.unknown-host", "the inventory has no host \(name), where a sync process was put", at: .host(name),
        hint: "put the host back into the inventory until the process has moved")
    }
    return try await remote(host)
  }

  private func remote(_ host: Inventory.Host) async throws -> any RemoteHost {
    if let known = remotes[host.name] {
      if known.isOpen { return known }
      remotes[host.name] = nil
      await known.close()
    }
    let made: any RemoteHost = WatchedHost(
      host: try await connect(host, prompt: environment.askPassphrase), logger: logger)
    if let raced = remotes[host.name] {
      await made.close()
      return raced
    }
    remotes[host.name] = made
    return made
  }

  // MARK: the record

  /// The one that keeps the servers' records, made when first needed.
  package func keeper<Keeper: RecordKeeper>(_ make: @Sendable (MigrationContext) -> Keeper) -> Keeper {
    if let known = recordKeeper as? Keeper { return known }
    let made = make(self)
    recordKeeper = made
    return made
  }

  /// Brings what the journal has more to the servers, where somebody keeps their records.
  package func publishRecord() async throws { try await recordKeeper?.publish() }

  /// A side's server is about to be stopped or started.
  package func endSessions(_ side: Side) async {
    await recordKeeper?.forget(side)
    await closeSessions(side)
  }

  /// To be asked before anything is done to a server.
  package func mayAct() async throws { try await recordKeeper?.beforeDeed() }

  // MARK: before a cutover

  /// Says that a step of this play does something that a later one's deeds depend on.
  package func foretell(_ what: Foretold) { foretold.insert(what) }
  package func hasForetold(_ what: Foretold) -> Bool { foretold.contains(what) }
  package func takeBack(_ what: Foretold) { foretold.remove(what) }

  // MARK: beside the steps

  package func companion(_ side: Side) -> (any Companion)? { companions[side] }

  /// The companion of a side from now on, unless it has one.
  ///
  /// - Returns: the one that it has then.
  package func accompany(_ side: Side, _ companion: any Companion) -> any Companion {
    if let known = companions[side] { return known }
    companions[side] = companion
    return companion
  }

  /// Ends what goes on beside the steps on one side.
  package func leaveAlone(_ side: Side) async {
    guard let companion = companions.removeValue(forKey: side) else { return }
    await companion.end()
  }

  // MARK: PostgreSQL

  /// Where and as whom to connect; the password is fetched once.
  package func parameters(_ side: Side, database: String? = nil) async throws -> ConnectionParameters {
    let settings = migration.host(side).postgres
    var parameters = ConnectionParameters(
      host: settings.address, port: settings.port, user: settings.user,
      database: database ?? settings.maintenanceDatabase, sslmode: settings.sslMode.rawValue,
      applicationName: "pgconvoy \(migration.name)",
      connectTimeout: Double(settings.connectTimeout.components.seconds))
    if settings.via == .ssh, !migration.host(side).isLocal {
      let tunnel =
        tunnels[side]
        ?? PostgresTunnel(host: migration.host(side), prompt: environment.askPassphrase, logger: logger)
      tunnels[side] = tunnel
      parameters.hostAddress = "127.0.0.1"
      parameters.port = try await tunnel.localPort()
      // libpq would look for the tunnel's port in the password file.
      if let password = try PasswordFile.password(for: settings, database: parameters.database, environment.variables) {
        parameters.password = password
        return parameters
      }
    }
    switch settings.password {
    case .none: break
    case .passfile(let path):
      parameters.passfile = path
      // The variable is the operator's; libpq would take it before the file that the inventory names.
      if environment.variables["PGPASSWORD"] != nil {
        parameters.password = try PasswordFile.password(
          for: settings, database: parameters.database, environment.variables)
      }
    case .command, .environment, .inline:
      if passwords[side] == nil { passwords[side] = try await password(from: settings.password, side: side) }
      parameters.password = passwords[side]
    }
    return parameters
  }

  /// A session that is kept for the whole play; `search_path` empty and text output canonical.
  package func session(_ side: Side, database: String? = nil) async throws -> PostgresSession {
    let name = database ?? migration.host(side).postgres.maintenanceDatabase
    let key = SessionKey(side: side, database: name)
    if let known = sessions[key] {
      if await known.isOpen { return known }
      sessions[key] = nil
      await known.close()
    }
    let made = try await newSession(side, database: name)
    if let raced = sessions[key] {
      await made.close()
      return raced
    }
    sessions[key] = made
    return made
  }

  /// The kept session to the maintenance database, if there is one.
  package func openSession(_ side: Side) -> PostgresSession? {
    sessions[SessionKey(side: side, database: migration.host(side).postgres.maintenanceDatabase)]
  }

  /// A session of the caller's own, which the caller closes.
  package func newSession(_ side: Side, database: String? = nil) async throws -> PostgresSession {
    var parameters = try await parameters(side, database: database).canonical
    // Our own tables lie where tables lie by themselves, and what is committed is on the disk.
    parameters.settings.merge(
      ["synchronous_commit": "on", "default_tablespace": "", "default_table_access_method": "heap"]
    ) { _, pinned in pinned }
    let end = ContinuousClock.now + Self.patience
    while true {
      do {
        return try await PostgresSession.connect(parameters)
      } catch let error as PostgresError {
        guard error.sqlState == .tooManyConnections, ContinuousClock.now < end else {
          throw error.convoyError(at: .host(migration.host(side).name))
        }
      }
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  /// What an application's sessions in a database go by there. In a session of its own, with nothing pinned.
  package func writingSettings(_ side: Side, database: String) async throws -> WritingSettings {
    do {
      return try await WritingSettings.ask(try await parameters(side, database: database))
    } catch let error as PostgresError {
      throw error.convoyError(at: .host(migration.host(side).name))
    }
  }

  /// What a server gives to every session of those settings that change results.
  package func serverSettings(_ side: Side) async throws -> WritingSettings {
    do {
      return try await WritingSettings.askServer(try await parameters(side))
    } catch let error as PostgresError {
      throw error.convoyError(at: .host(migration.host(side).name))
    }
  }

  /// How long a session waits for a place where the server has no connection left.
  private static let patience = Duration.seconds(3)

  /// A session for one piece of work, which is closed behind it whatever comes of it.
  package nonisolated(nonsending) func withNewSession<Value>(
    _ side: Side, database: String? = nil, _ body: nonisolated(nonsending) (PostgresSession) async throws -> Value
  ) async throws -> Value {
    let session = try await newSession(side, database: database)
    do {
      let value = try await body(session)
      await session.close()
      return value
    } catch {
      await session.close()
      throw error
    }
  }

  /// The kept session of a database where there is one, else one for this piece of work only. Whoever uses it leaves it
  /// as it was; when the work fails, it is closed.
  package nonisolated(nonsending) func withSession<Value>(
    _ side: Side, database: String, _ body: nonisolated(nonsending) (PostgresSession) async throws -> Value
  ) async throws -> Value {
    guard let kept = await keptSession(side, database) else {
      return try await withNewSession(side, database: database, body)
    }
    do {
      return try await body(kept)
    } catch {
      await closeSession(side, database: database)
      throw error
    }
  }

  package func keptSession(_ side: Side, _ database: String) async -> PostgresSession? {
    guard let known = sessions[SessionKey(side: side, database: database)], await known.isOpen else { return nil }
    return known
  }

  /// Ends the kept sessions of one side, before its server is stopped or its clients are swept.
  package func closeSessions(_ side: Side) async {
    for (key, session) in sessions where key.side == side {
      sessions[key] = nil
      await session.close()
    }
  }

  /// Ends one kept session, where there are many databases.
  package func closeSession(_ side: Side, database: String) async {
    guard let session = sessions.removeValue(forKey: SessionKey(side: side, database: database)) else { return }
    await session.close()
  }

  package func close() async {
    for side in Side.allCases { await leaveAlone(side) }
    await recordKeeper?.close()
    for side in Side.allCases { await closeSessions(side) }
    for tunnel in tunnels.values { await tunnel.close() }
    tunnels = [:]
    for (name, remote) in remotes {
      remotes[name] = nil
      await remote.close()
    }
  }

  private func password(from source: PasswordSource, side: Side) async throws -> String {
    switch source {
    case .inline(let secret): return secret.value
    case .environment(let name):
      guard let value = environment.variables[name] else {
        throw ConvoyError(
          "postgres.no-password", "environment variable \(name) is not set", at: .host(migration.host(side).name),
          hint: "export it before you run pgconvoy, or use a passfile")
      }
      return value
    case .command(let command):
      let result = try await LocalHost().runChecked(.shell(command, deadline: .seconds(60), label: "password_command"))
      return result.text
    case .none, .passfile: return ""
    }
  }
}

/// What steps of a play tell those behind them, in check mode as in a run.
package enum Foretold: Hashable, Sendable {
  /// The streams of a direction are laid.
  case way(StreamDirection)
  /// The services of a side that run now are stopped.
  case stop(Side)
  /// What a cutover can do before anybody is held up is done.
  case headStart(StreamDirection)
  /// It is announced, which `--diff` does before a run too.
  case headStartAnnounced(StreamDirection)
  /// The side that a cutover is to open was asked, and is closed.
  case foundClosed(StreamDirection)
}
