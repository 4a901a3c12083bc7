import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel

extension MigrationContext {
  /// Also when the connection to the host breaks meanwhile: nobody serves as long as it does not run.
  ///
  /// - Returns: false when it ran already.
  nonisolated(nonsending) func startService(_ name: String, _ side: Side) async throws -> Bool {
    try await holdingOn("starting \(name)") {
      for control in try await serviceControls(side) where control.service.name == name {
        if try await control.isRunning() { return false }
        progress("starting \(name)")
        try await control.start()
      }
      return true
    }
  }

  func serviceControls(_ side: Side) async throws -> [ServiceControl] {
    let host = migration.host(side)
    let services = migration.services(on: side)
    guard !services.isEmpty else { return [] }
    let remote = try await remote(side)
    return services.map { ServiceControl(service: $0, host: host, remote: remote) }
  }
}

/// `stop_services`: in the inventory's order; the journal keeps which of them were running.
struct StopServicesStep: Step {
  let side: Side

  var sides: [Side] { [side] }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    var actions: [PlannedAction] = []
    for control in try await context.serviceControls(side) where try await control.isRunning() {
      actions.append(.init(host: control.host.name, control.stopCommand))
    }
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isOver(StreamDirection(closing: side)) { return true }
    for control in try await context.serviceControls(side) where try await control.isRunning() { return false }
    return true
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let name = context.migrationName
    let controls = try await context.serviceControls(side)
    let isServing = try await (context.record()?.direction.from ?? .source) == side
    if isServing { try await context.makeReady(StreamDirection(closing: side)) }
    let states = try await mapConcurrently(controls, limit: 8) { try await $0.isRunning() }
    if isServing { try await context.setFact(FactKey.downtimeBegan, millisecondsSince1970()) }
    var stopped: [String] = []
    for (control, running) in zip(controls, states) {
      // What was down on a side that does not serve says nothing of whether it is wanted once that side does.
      if !running, !isServing { continue }
      let (host, service, manager) = (control.host.name, control.service.name, control.service.manager.rawValue)
      try await context.journal.perform { file throws(ConvoyError) in
        try file.serviceStopping(migration: name, host: host, name: service, manager: manager, wasRunning: running)
      }
      if running {
        context.progress("stopping \(service)")
        try await control.stop()
        stopped.append(service)
      }
      try await context.journal.perform { file throws(ConvoyError) in
        try file.serviceStopped(migration: name, host: host, name: service, manager: manager)
      }
    }
    _ = try await mapConcurrently(controls, limit: 8) { try await $0.checkIsStopped() }
    return StepResult(
      changed: !stopped.isEmpty, stopped.isEmpty ? "none was running" : "stopped " + stopped.joined(separator: ", "))
  }

  /// Starts again what was running, the last one stopped first.
  func undo(_ context: MigrationContext) async throws -> UndoResult {
    let host = context.migration.host(side).name
    let name = context.migrationName
    let records = try await context.journal.perform { file throws(ConvoyError) in
      try file.servicesToStart(migration: name, host: host)
    }
    var started: [String] = []
    for record in records {
      guard context.migration.services(on: side).contains(where: { $0.name == record.name }) else {
        throw ConvoyError(
          "service.unknown", "service \(record.name), which was stopped, is not in the inventory any more",
          at: .host(host), hint: "put it back, or start it by hand and mark it: it was running")
      }
      _ = try await context.startService(record.name, side)
      try await context.journal.perform { file throws(ConvoyError) in
        try file.serviceStarted(migration: name, host: host, name: record.name, manager: record.manager)
      }
      started.append(record.name)
    }
    if try await (context.record()?.direction.from ?? .source) == side {
      try await context.removeFact(FactKey.downtimeBegan)
    }
    return started.isEmpty ? .nothingToUndo : .undone("started " + started.joined(separator: ", ") + " again")
  }
}

/// `start_services`: those that were running, on this side or the other one, when they were stopped last. In the reverse
/// of the order in which they stop.
struct StartServicesStep: Step {
  let side: ServingSide

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
    var takesOver = side == .target
    if !takesOver { takesOver = try await hasTakenOver(side, context) }
    // Behind a cutover it is a rollback that asks, before it has begun.
    if !takesOver { takesOver = try await hasTakenOver(side == .source ? .target : .source, context) }
    if takesOver { found += try await records(context, side == .source ? .target : .source) }
    return found
  }

  private func wanted(_ context: MigrationContext, _ side: Side) async throws -> [ServiceControl] {
    let records = try await deciding(context, side)
    return try await context.serviceControls(side).reversed().filter { control in
      let latest = records.filter { $0.name == control.service.name }.max { $0.stopBegan < $1.stopBegan }
      if let latest { return latest.wasRunning }
      // A service of the target that the source does not have is started the first time in any case.
      return side == .target && !control.service.on.contains(.source)
    }
  }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let side = try await side.resolved(context)
    var actions: [PlannedAction] = []
    let stopped = try await deciding(context, side)
    for control in try await context.serviceControls(side).reversed() {
      let isWanted =
        if let latest = stopped.filter({ $0.name == control.service.name }).max(by: { $0.stopBegan < $1.stopBegan }) {
          latest.wasRunning
        } else {
          // Nothing is on record before stop_services: what runs on the source now is what it will have stopped.
          try await willHaveRun(control.service, context)
        }
      // On the source it is down by then, although it runs now.
      let isDown = side == .source && stopped.isEmpty ? true : try await !control.isRunning()
      if isWanted, isDown { actions.append(.init(host: control.host.name, control.startCommand)) }
    }
    return actions
  }

  private func willHaveRun(_ service: Service, _ context: MigrationContext) async throws -> Bool {
    guard service.on.contains(.source) else { return side == .target }
    let controls = try await context.serviceControls(.source)
    return try await controls.first { $0.service.name == service.name }?.isRunning() ?? false
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    let side = try await side.resolved(context)
    if side == .target, try await !hasTakenOver(.target, context) { return false }
    return try await context.holdingOn("start_services") {
      for control in try await wanted(context, side) where try await !control.isRunning() { return false }
      return true
    }
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let side = try await side.resolved(context)
    if side == .source, try await hasTakenOver(.target, context) {
      return StepResult(changed: false, "nothing to start: the target has taken over")
    }
    let name = context.migrationName
    var started: [String] = []
    for name in try await wanted(context, side).map(\.service.name) {
      if try await context.startService(name, side) { started.append(name) }
    }
    // Closed as a whole: what did not run when it was stopped is not wanted either.
    for record in try await records(context, side) {
      try await context.journal.perform { file throws(ConvoyError) in
        try file.serviceStarted(migration: name, host: record.host, name: record.name, manager: record.manager)
      }
    }
    if try await !hasTakenOver(side, context) { try await context.removeFact(FactKey.downtimeBegan) }
    return StepResult(
      changed: !started.isEmpty, started.isEmpty ? "nothing to start" : "started " + started.joined(separator: ", "))
  }
}
