import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// Something breaks in each phase of a cutover and of a rollback. Whatever it was, one side serves, complete, or a
  /// second run makes it so; never do both.
  ///
  /// `PGCONVOY_CUTOVER_FAILURES=1` has every failure in every phase, cutovers and rollbacks in turns; a higher number has
  /// that many rounds, those behind the first some random time into the phase.
  @Suite(.serialized) struct CutoverFailures {
    enum Phase: String, CaseIterable, Sendable {
      case stopServices, fence, drain, sequences, largeObjects, verify, confirmFence, close, openWay, open,
        startServices

      /// The name of the step.
      func step(_ direction: StreamDirection) -> String {
        switch self {
        case .stopServices: "stop_services"
        case .fence: "fence"
        case .drain: "drain"
        case .sequences: "copy_sequences"
        case .largeObjects: "copy_large_objects"
        case .verify: "verify"
        case .confirmFence: "confirm_fence"
        case .close: "close_\(direction.rawValue)"
        case .openWay: direction == .forward ? "open_way_back" : "open_way_forward"
        case .open: direction == .forward ? "open_target" : "open_source"
        case .startServices: "start_services"
        }
      }
    }

    enum Failure: String, CaseIterable, Sendable {
      /// SIGKILL of the play, and the same command again; or the fence lifted, where that may be.
      case playKilled, playKilledForGood
      case syncKilled
      /// An immediate stop of the server that is to be opened, which comes up again.
      case serverStopped
      /// The same, but it comes up only when the play has ended. Before the point of no return only.
      case serverGone
      /// The sshd session processes of both hosts end.
      case sshCut
      /// The workers do not answer before the drain's deadline.
      case deadlineOver

      func isMeant(in phase: Phase) -> Bool {
        switch self {
        case .deadlineOver: [.drain, .confirmFence].contains(phase)
        case .serverGone: ![.open, .startServices].contains(phase)
        default: true
        }
      }
    }

    private static let rounds = getenv("PGCONVOY_CUTOVER_FAILURES").flatMap { Int(String(cString: $0)) } ?? 0

    @Test func oneSideServesCompleteWhateverBreaks() async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        try await scenario.play("migrate")
        var lab = Ordeal(scenario: scenario)
        if Self.rounds == 0 {
          for (phase, failure) in Self.spread { try await lab.go(phase, failure) }
        }
        for round in 0..<Self.rounds {
          for phase in Phase.allCases {
            for failure in Failure.allCases where failure.isMeant(in: phase) {
              try await lab.go(phase, failure, late: round > 0, thenOn: true)
            }
          }
        }
        try await lab.end()
      }
    }

    /// Of each failure one, before the point of no return and behind it.
    private static let spread: [(Phase, Failure)] = [
      (.fence, .sshCut), (.openWay, .serverGone), (.drain, .syncKilled), (.open, .sshCut),
    ]
  }
}

/// A migrated lab that goes through one failure after the other.
private struct Ordeal {
  typealias Phase = Scenarios.CutoverFailures.Phase
  typealias Failure = Scenarios.CutoverFailures.Failure

  let scenario: Scenario
  /// Which way changes travel: the side that serves is its beginning.
  var direction = StreamDirection.forward
  private var random = SeededRandom(seed: 20_261_127)

  init(scenario: Scenario) { self.scenario = scenario }

  private var playbook: String { direction == .forward ? "cutover" : "rollback" }
  private var closing: LabHost { direction == .forward ? scenario.source : scenario.target }
  private var opening: LabHost { direction == .forward ? scenario.target : scenario.source }

  /// - Parameters:
  ///   - late: not at the phase's beginning but some time into it.
  ///   - thenOn: has a cutover that was called off followed by one that is not.
  mutating func go(_ phase: Phase, _ failure: Failure, late: Bool = false, thenOn: Bool = false) async throws {
    let pause = late ? Int.random(in: 0...700, using: &random) : 0
    let name = "\(failure) in \(phase.step(direction)), \(pause) ms into it"
    let began = ContinuousClock.now
    let doors = Doors(scenario, direction)
    let watch = Task { try await doors.watch() }
    let file = failure == .deadlineOver ? try scenario.hasty(playbook) : Scenario.shipped(playbook)
    let play = try scenario.start("play", file, "--yes")
    #expect(try await play.says("[lab] \(phase.step(direction)) ("), "\(name): \(play.output)")
    if pause > 0 { try await Task.sleep(for: .milliseconds(pause)) }
    let sync = try? await scenario.syncPID()
    try await bring(failure, play, sync)
    let result = try await play.result()
    if failure == .deadlineOver, let sync { kill(sync, SIGCONT) }
    // Who may come in there is asked below.
    if failure == .serverGone { try await scenario.startServer(opening) }
    let outcome = try await outcome()
    switch result.status {
    case 0: #expect(outcome == .opened, "\(name): \(result.text)")
    case 1: #expect(outcome != .neither, "\(name): \(result.text)")
    default:
      #expect(failure == .playKilled || failure == .playKilledForGood, "\(name): \(result.text)")
      try await mend(failure, outcome, name)
    }
    var isOpened = try await self.outcome() == .opened
    if isOpened, result.status == 1 { try await again(name) }
    if !isOpened {
      try await expectServing(closing, not: opening, name)
      if thenOn {
        try await settled()
        try await again(name)
        isOpened = true
      }
    }
    watch.cancel()
    try await watch.value
    #expect(await !doors.wereBothOpen, "\(name): both sides let applications in")
    if isOpened {
      try await expectServing(opening, not: closing, name)
      direction = direction.opposite
    }
    if Scenarios.CutoverFailures.isTold {
      print("\(name): status \(result.status), \(outcome), \(began.duration(to: .now))\(Self.code(result.text))")
    }
    try await settled()
  }

  /// Everything once more, and then both sides are the same.
  mutating func end() async throws {
    try await scenario.play(try scenario.withoutServices(playbook))
    try await scenario.expectIdentical(sequences: true)
    for role in [Scenario.Role.source, .target] {
      try await scenario.expectAcknowledged(try hosts, on: role)
    }
  }

  private static func code(_ text: String) -> String {
    text.firstMatch(of: /\[[a-z-]+\.[a-z-]+\]/).map { ", \($0.output)" } ?? ""
  }

  // MARK: what breaks

  private func bring(_ failure: Failure, _ play: Program, _ sync: pid_t?) async throws {
    switch failure {
    case .playKilled, .playKilledForGood: play.signal(SIGKILL)
    case .syncKilled: if let sync { kill(sync, SIGKILL) }
    case .deadlineOver: if let sync { kill(sync, SIGSTOP) }
    case .sshCut:
      for pid in [closing, opening].flatMap(scenario.sshdListeners).flatMap(scenario.children) { kill(pid, SIGKILL) }
    case .serverStopped, .serverGone:
      try await scenario.control(opening, "stop", "-m", "immediate")
      if failure == .serverStopped { try await scenario.startServer(opening) }
    }
  }

  /// A play that was killed has left things as they were.
  private func mend(_ failure: Failure, _ outcome: Outcome, _ name: String) async throws {
    let isPassed = try await scenario.status().migrations.first?.direction != direction
    if failure == .playKilledForGood, !isPassed {
      try await scenario.play("unfence")
      #expect(try await self.outcome() == .asBefore, "\(name)")
    } else {
      try await again(name)
    }
  }

  private func again(_ name: String) async throws {
    let result = try await scenario.start("play", Scenario.shipped(playbook), "--yes").result()
    try #require(result.status == 0, "\(name), once more: \(result.text)")
    #expect(try await outcome() == .opened, "\(name)")
  }

  /// The workers stream again, so that the next cutover finds what it needs.
  private func settled() async throws {
    try await scenario.play(try scenario.playbook(steps: ["start_sync"]))
  }

  // MARK: what must hold

  private enum Outcome { case asBefore, opened, neither }

  private func outcome() async throws -> Outcome {
    let (source, target) = try await (scenario.refusal(.sourceApp) == nil, scenario.refusal(.targetApp) == nil)
    #expect(!(source && target), "both sides let applications in")
    guard source || target else { return .neither }
    return (direction == .forward) == target ? .opened : .asBefore
  }

  private var hosts: [LabHost] {
    get throws { try [scenario.source, scenario.target].filter { try scenario.acknowledgedCount($0) > 0 } }
  }

  private func expectServing(_ host: LabHost, not other: LabHost, _ name: String) async throws {
    let role = host.name == scenario.source.name ? Scenario.Role.source : .target
    for service in ["app", "web"] {
      #expect(try scenario.service(service, on: host) == "run", "\(name)")
      #expect(try scenario.service(service, on: other) == "down", "\(name)")
    }
    try await scenario.applicationGoesOn(by: 5, on: host)
    try await scenario.expectAcknowledged(try hosts, on: role)
  }
}

extension Scenarios.CutoverFailures {
  /// Whether each case is told about, as it is in the whole matrix.
  fileprivate static var isTold: Bool { rounds > 0 }
}

/// Looks all the time whether applications get in, on the side to be opened first: that one stays open, so that one look
/// at each is enough to see both open.
private actor Doors {
  private let scenario: Scenario
  private let roles: (opening: Scenario.Role, closing: Scenario.Role)
  private(set) var wereBothOpen = false

  init(_ scenario: Scenario, _ direction: StreamDirection) {
    self.scenario = scenario
    roles = direction == .forward ? (.targetApp, .sourceApp) : (.sourceApp, .targetApp)
  }

  func watch() async throws {
    while !Task.isCancelled {
      if await isOpen(roles.opening), await isOpen(roles.closing) { wereBothOpen = true }
      try? await Task.sleep(for: .milliseconds(30))
    }
  }

  private func isOpen(_ role: Scenario.Role) async -> Bool {
    do { return try await scenario.refusal(role, scenario.lab.databases[0]) == nil } catch { return false }
  }
}
