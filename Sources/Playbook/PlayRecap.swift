public import ReplicationModel

/// How a migration came out of a playbook.
public enum MigrationOutcome: String, Sendable, CaseIterable {
  case ok
  case failed
  case interrupted
  /// At least one play did not start for it, since something before it failed or was interrupted.
  case notStarted = "not started"
}

/// What became of one step of one migration in this run; the journal's row is a `StepRecord`.
public struct StepRecap: Sendable, Equatable {
  public enum Outcome: Sendable, Equatable {
    /// It ran, and changed something or did not.
    case ran(StepResult)
    case alreadyDone
    /// Its `when` did not hold.
    case notMeant(reason: String)
    /// Check mode: it would do so many things.
    case wouldRun(actions: Int)
    case failed
    case interrupted

    var isNotMeant: Bool { if case .notMeant = self { true } else { false } }
  }

  public var play: String
  public var step: String
  public var outcome: Outcome
  public var duration: Duration
  /// The hosts that it counts for: of a failed step those that failed.
  public var hosts: [String]
  /// It failed since a host could not be reached.
  public var isUnreachable: Bool

  public init(
    play: String, step: String, outcome: Outcome, duration: Duration, hosts: [String] = [], isUnreachable: Bool = false
  ) {
    self.hosts = hosts
    self.isUnreachable = isUnreachable
    self.play = play
    self.step = step
    self.outcome = outcome
    self.duration = duration
  }
}

/// What became of one step when it was undone.
public struct UndoRecord: Sendable, Equatable {
  public var step: String
  public var result: UndoResult?
  /// Set where `result` is not.
  public var error: ConvoyError?

  public init(step: String, result: UndoResult? = nil, error: ConvoyError? = nil) {
    self.step = step
    self.result = result
    self.error = error
  }
}

/// One migration's line and details in the closing report.
public struct MigrationRecap: Sendable, Equatable {
  public var name: String
  public var outcome: MigrationOutcome
  /// In the order in which they ran.
  public var steps: [StepRecap]
  /// Why it failed.
  public var error: ConvoyError?
  /// In the order in which they were undone.
  public var undone: [UndoRecord]
  /// Steps of this run that `on_failure: undo` left done, and why.
  public var leftDone: [String]
  public var leftDoneReason: String?

  public init(name: String, outcome: MigrationOutcome = .ok) {
    self.name = name
    self.outcome = outcome
    steps = []
    undone = []
    leftDone = []
  }

  /// Steps that ran and changed something.
  public var changedCount: Int {
    steps.count { if case .ran(let result) = $0.outcome { result.changed } else { false } }
  }

  /// Time in steps, undoing not counted.
  public var duration: Duration { steps.reduce(.zero) { $0 + $1.duration } }
}

/// How many steps came to what on one host.
public struct HostRecap: Sendable, Equatable {
  public var name: String
  public var ok = 0
  /// In check mode: would run.
  public var changed = 0
  public var failed = 0
  public var unreachable = 0

  public init(name: String) {
    self.name = name
  }
}

/// The closing report of a playbook.
public struct PlayRecap: Sendable, Equatable {
  public var check: Bool
  /// Every migration that the playbook is about, in the inventory's order.
  public var migrations: [MigrationRecap]

  public init(check: Bool, migrations: [MigrationRecap]) {
    self.check = check
    self.migrations = migrations
  }

  /// Counts by host, in the order in which the hosts come up.
  public var hosts: [HostRecap] {
    var hosts: [HostRecap] = []
    for step in migrations.flatMap(\.steps) {
      for name in step.hosts {
        let index = hosts.firstIndex { $0.name == name } ?? hosts.endIndex
        if index == hosts.endIndex { hosts.append(HostRecap(name: name)) }
        switch step.outcome {
        case .ran(let result) where result.changed: hosts[index].changed += 1
        case .wouldRun: hosts[index].changed += 1
        case .ran, .alreadyDone: hosts[index].ok += 1
        case .failed where step.isUnreachable: hosts[index].unreachable += 1
        case .failed: hosts[index].failed += 1
        case .notMeant, .interrupted: break
        }
      }
    }
    return hosts
  }

  public var isInterrupted: Bool { migrations.contains { $0.outcome == .interrupted } || wasCancelled }
  /// Interrupted between two migrations: no step was in hand.
  public var wasCancelled = false

  /// 0: all done; 1: a migration failed; 3: interrupted, safe to run again.
  public var exitStatus: Int32 {
    if migrations.contains(where: { $0.outcome == .failed }) { return 1 }
    if isInterrupted { return 3 }
    return migrations.allSatisfy { $0.outcome == .ok } ? 0 : 1
  }
}
