import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel

/// `stop_services`: in the inventory's order; the journal keeps which of them were running.
struct StopServicesStep: DeedStep {
  let side: Side

  var name: String { "stop_services" }
  var sides: [Side] { [side] }

  private let stopped = Found<[String]>("stop_services.stopped", placeholder: "")

  init(side: Side) { self.side = side }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isOver(StreamDirection(closing: side)) { return true }
    for control in try await context.serviceControls(side) where try await control.isRunning() { return false }
    return true
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let isServing = try await isServing(context)
    return [
      .later(announced: {
        await context.foretell(.stop(side))
        return []
      }) { _ in [] },
      // A playbook may begin with this step; services may also be stopped where no server runs.
      .aside { _ in
        guard isServing else { return }
        do { try await Fence(context: context, side: side).refuseUnfit(name) } catch let error as ConvoyError
          where error.code == "postgres.unreachable"
        {}
      },
    ] + (isServing ? HeadStart(context: context, direction: StreamDirection(closing: side)).deeds() : [])
      // A head start may take a minute, and services come and go meanwhile.
      + [.later { try await stopping(context, isServing: isServing) }]
  }

  private func stopping(_ context: MigrationContext, isServing: Bool) async throws -> [Deed] {
    let controls = try await context.serviceControls(side)
    let states = try await mapConcurrently(controls, limit: 8) { try await $0.isRunning() }
    var deeds: [Deed] = []
    if isServing { deeds.append(.aside { _ in try await context.setFact(.downtimeBegan, millisecondsSince1970()) }) }
    for (control, isRunning) in zip(controls, states) {
      // What was down on a side that does not serve says nothing of whether it is wanted once that side does.
      if !isRunning, !isServing { continue }
      let service = control.service.name
      deeds.append(.aside { _ in try await noteStopping(context, control, wasRunning: isRunning) })
      if isRunning { deeds += [.say("stopping \(service)"), .service(side, service, .stop)] }
      deeds.append(.aside { _ in try await noteStopped(context, control) })
    }
    let running = zip(controls, states).filter(\.1).map(\.0.service.name)
    return deeds + [
      .aside { found in
        found[stopped] = running
        _ = try await mapConcurrently(controls, limit: 8) { try await $0.checkIsStopped() }
      }
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let stopped = found[stopped] ?? []
    return StepResult(
      changed: !stopped.isEmpty, stopped.isEmpty ? "none was running" : "stopped " + stopped.joined(separator: ", "))
  }

  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    await context.takeBack(.headStart(StreamDirection(closing: side)))
    return error
  }

  private func isServing(_ context: MigrationContext) async throws -> Bool {
    try await (context.record()?.direction.from ?? .source) == side
  }

  private func noteStopping(_ context: MigrationContext, _ control: ServiceControl, wasRunning: Bool) async throws {
    let (name, host, service) = (context.migrationName, control.host.name, control.service)
    try await context.journal.perform { file throws(ConvoyError) in
      try file.serviceStopping(
        migration: name, host: host, name: service.name, manager: service.manager.rawValue, wasRunning: wasRunning)
    }
  }

  private func noteStopped(_ context: MigrationContext, _ control: ServiceControl) async throws {
    let (name, host, service) = (context.migrationName, control.host.name, control.service)
    try await context.journal.perform { file throws(ConvoyError) in
      try file.serviceStopped(migration: name, host: host, name: service.name, manager: service.manager.rawValue)
    }
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    var undoing = try await context.startingAgain(side)
    if try await isServing(context) {
      undoing.deeds.append(.aside { _ in try await context.removeFact(.downtimeBegan) })
    }
    return undoing
  }
}

/// `start_services`: those that were running, on this side or the other one, when they were stopped last. In the reverse
/// of the order in which they stop.
struct StartServicesStep: DeedStep {
  let side: ServingSide

  var name: String { "start_services" }

  var sides: [Side] { Side(rawValue: side.rawValue).map { [$0] } ?? Side.allCases }

  /// What this step started may be serving already.
  var isUndoneAfterItsOwnFailure: Bool { false }

  /// Whether the side was opened by taking over from the other one.
  private func hasTakenOver(_ side: Side, _ context: MigrationContext) async throws -> Bool {
    try await context.isOver(StreamDirection(closing: side).opposite)
  }

  private func records(_ context: MigrationContext, _ side: Side) async throws -> [ServiceRecord] {
    let name = context.migrationName
    let host = context.host(side).name
    return try await context.journal.perform { file throws(ConvoyError) in
      try file.stoppedServices(migration: name, host: host)
    }
  }

  /// What decides which services are wanted: what ran on the side when it was closed, and on the other side where this
  /// one takes over from it.
  private func deciding(_ context: MigrationContext, _ side: Side) async throws -> [ServiceRecord] {
    var found = try await records(context, side)
    if try await takesOver(side, context) { found += try await records(context, side == .source ? .target : .source) }
    return found
  }

  private func takesOver(_ side: Side, _ context: MigrationContext) async throws -> Bool {
    if side == .target { return true }
    if try await hasTakenOver(side, context) { return true }
    // Behind a cutover it is a rollback that asks, before it has begun.
    return try await hasTakenOver(side == .source ? .target : .source, context)
  }

  private func isWanted(_ service: Service, _ side: Side, _ records: [ServiceRecord]) -> Bool {
    let latest = records.filter { $0.name == service.name }.max { $0.stopBegan < $1.stopBegan }
    if let latest { return latest.wasRunning }
    // A service of the target that the source does not have is started the first time in any case.
    return side == .target && !service.on.contains(.source)
  }

  private func wanted(_ context: MigrationContext, _ side: Side) async throws -> [ServiceControl] {
    let records = try await deciding(context, side)
    return try await context.serviceControls(side).reversed().filter { isWanted($0.service, side, records) }
  }

  private let started = Found<[String]>("start_services.started", placeholder: "")

  init(side: ServingSide) { self.side = side }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let side = try await side.resolved(context)
    let name = context.migrationName
    return [
      .later(announced: { try await announced(context, side) }) { found in
        if side == .source, try await hasTakenOver(.target, context) { return [] }
        let down = try await context.holdingOn("start_services") {
          var down: [ServiceControl] = []
          for control in try await wanted(context, side) where try await !control.isRunning() { down.append(control) }
          return down
        }
        found[started] = down.map(\.service.name)
        return down.map { .service(side, $0.service.name, .start) } + [
          .aside { _ in
            // Closed as a whole: what did not run when it was stopped is not wanted either.
            for record in try await records(context, side) {
              try await context.journal.perform { file throws(ConvoyError) in
                try file.serviceStarted(
                  migration: name, host: record.host, name: record.name, manager: record.manager)
              }
            }
            if try await !hasTakenOver(side, context) { try await context.removeFact(.downtimeBegan) }
          }
        ]
      }
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    guard let started = found[started] else {
      return StepResult(changed: false, "nothing to start: the target has taken over")
    }
    return StepResult(
      changed: !started.isEmpty, started.isEmpty ? "nothing to start" : "started " + started.joined(separator: ", "))
  }

  /// What will be started, by what is on record now, and what a stop that was told before will find running.
  private func announced(_ context: MigrationContext, _ side: Side) async throws -> [Deed] {
    if side == .source, try await hasTakenOver(.target, context), await !context.hasForetold(.stop(.target)) {
      return []
    }
    let records = try await deciding(context, side)
    let sides: [Side] = try await takesOver(side, context) ? [side, side == .source ? .target : .source] : [side]
    var stopped: [Side] = []
    for one in sides where await context.hasForetold(.stop(one)) { stopped.append(one) }
    var deeds: [Deed] = []
    for control in try await context.serviceControls(side).reversed() {
      let service = control.service
      var isWanted = isWanted(service, side, records)
      if let one = stopped.first(where: service.on.contains) {
        isWanted = try await willHaveRun(service, one, records, context)
      }
      let isDown = stopped.contains(side) ? true : try await !control.isRunning()
      if isWanted, isDown { deeds.append(.service(side, service.name, .start)) }
    }
    return deeds
  }

  /// A service that is on record as stopped keeps that record.
  private func willHaveRun(
    _ service: Service, _ side: Side, _ records: [ServiceRecord], _ context: MigrationContext
  ) async throws -> Bool {
    let host = context.host(side).name
    if let known = records.last(where: { $0.name == service.name && $0.host == host }) { return known.wasRunning }
    return try await context.serviceControls(side).first { $0.service.name == service.name }?.isRunning() ?? false
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    let side = try await side.resolved(context)
    if side == .target, try await !hasTakenOver(.target, context) { return false }
    for one in Side.allCases where await context.hasForetold(.stop(one)) { return false }
    return try await context.holdingOn("start_services") {
      for control in try await wanted(context, side) where try await !control.isRunning() { return false }
      return true
    }
  }
}
