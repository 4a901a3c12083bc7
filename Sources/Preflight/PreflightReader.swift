import HostAdmin
import Inventory
import MigrationCore

/// Collects the facts from both hosts and servers. Only looks; every question has a deadline.
struct PreflightReader: Sendable {
  let context: MigrationContext

  var migration: Inventory.Migration { context.migration }

  static let deadline = Duration.seconds(120)

  func read() async -> PreflightFacts {
    async let sourceSide = side(.source)
    async let targetSide = side(.target)
    let (source, sourceControl) = await sourceSide
    let cluster = await self.cluster(source.role)
    async let databases = self.databases(cluster)
    let (target, control) = await targetSide
    let places = CopyPlaces(context: context, control: control)
    async let directory = places.directory()
    async let tablespaces = places.tablespaces(cluster.map(\.tablespaces))
    async let walDirectory = places.walDirectory()
    async let taken = places.taken()
    async let hasCopy = reading(.target) { try await context.hasWholeCopy() }
    async let replication = self.replication(control, source.role)
    async let sourceFiles = self.sourceFiles(sourceControl)
    async let keptFiles = self.keptFiles(control)
    async let sourceWAL = self.sourceWAL(sourceControl)
    async let sync = syncHost(control, source.role)
    let found = await databases
    return PreflightFacts(
      migration: migration, source: source, target: target, cluster: cluster, directory: await directory,
      tablespaces: await tablespaces, walDirectory: await walDirectory, taken: await taken, hasCopy: await hasCopy,
      replication: await replication,
      sourceFiles: await sourceFiles, keptFiles: await keptFiles, sourceWAL: await sourceWAL,
      libraries: await libraries(control, found.compactMap(\.facts.value)),
      sync: await sync,
      databases: found)
  }

  private func side(_ side: Side) async -> (SideFacts, Reading<ServerControl>) {
    let account = await self.account(side)
    let control = await self.control(side, account)
    async let machine = self.machine(side, control)
    async let application = self.application(side, account)
    let role = await self.role(side, control)
    let server = await self.server(side, role)
    let authentication = await self.authentication(side, control, role)
    let configurationError = await self.configurationError(side, control, role)
    let installation = await reading(side) {
      let control = try control.get()
      return Installation(dataDirectory: control.dataDirectory, binDirectory: control.binDirectory)
    }
    // What failed is reported once, by the check of the installation.
    let facts = SideFacts(
      account: account, installation: control.error.map { .failed($0) } ?? installation,
      configurationError: configurationError, machine: await machine, role: role,
      server: server, authentication: authentication, application: await application)
    return (facts, control)
  }

  func reading<Value: Sendable>(
    _ side: Side, _ body: () async throws -> Value
  ) async -> Reading<Value> {
    await context.reading(side, body)
  }

  /// The selected databases, a few at a time, in order.
  private func databases(
    _ cluster: Reading<ClusterFacts>
  ) async -> [(name: String, facts: Reading<DatabaseFacts>)] {
    let names = cluster.value?.selected(by: migration.databases).map(\.name) ?? []
    let width = 4
    return await withTaskGroup(of: (Int, Reading<DatabaseFacts>).self) { group in
      var pending = names.indices[...]
      var found: [Int: Reading<DatabaseFacts>] = [:]
      func startNext() {
        guard let index = pending.popFirst() else { return }
        group.addTask { (index, await database(names[index])) }
      }
      for _ in 0..<width { startNext() }
      while let (index, facts) = await group.next() {
        found[index] = facts
        startNext()
      }
      return names.indices.map { (names[$0], found[$0] ?? .notAsked("it was interrupted")) }
    }
  }
}
