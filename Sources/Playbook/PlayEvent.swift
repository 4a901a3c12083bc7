public import ReplicationModel
import Synchronization

/// Which step of which migration an event is about.
public struct StepPosition: Hashable, Sendable {
  public var play: String
  public var migration: String
  public var step: String
  /// From 1, in the play.
  public var number: Int
  /// How many steps the play has.
  public var count: Int

  public init(play: String, migration: String, step: String, number: Int, count: Int) {
    self.play = play
    self.migration = migration
    self.step = step
    self.number = number
    self.count = count
  }
}

/// What happens while a playbook runs, as it happens. Events of one migration come in order; those of migrations that
/// run side by side interleave.
public enum PlayEvent: Sendable, Equatable {
  case playStarted(play: String, migrations: [String], check: Bool)
  /// `number` of `count`, from 1.
  case batchStarted(play: String, number: Int, count: Int, migrations: [String])
  /// These migrations will not start in that play, since something before them failed or was interrupted.
  case notStarted(play: String, migrations: [String])
  /// What a person should know before a migration's first step.
  case remark(migration: String, String)
  case stepStarted(StepPosition)
  case stepAlreadyDone(StepPosition)
  /// The step's `when` does not hold for the migration: which fact is in the way.
  case stepNotMeant(StepPosition, reason: String)
  /// Check mode: exactly what the step would do.
  case stepWouldRun(StepPosition, [PlannedAction])
  /// `--diff` without check mode: what the step is about to do to files.
  case stepDiff(StepPosition, [PlannedAction])
  /// A line about how far a step has come.
  case progress(StepPosition, String)
  case stepFinished(StepPosition, StepResult, Duration)
  case stepFailed(StepPosition, ConvoyError, Duration)
  /// The migration's context could not be made, or a point of no return could not be asked for: no step was begun. The
  /// position is that of the first step that was to run.
  case migrationFailed(StepPosition, ConvoyError)
  case stepInterrupted(StepPosition, Duration)
  case undoing(StepPosition)
  case undone(StepPosition, UndoResult)
  case undoFailed(StepPosition, ConvoyError)
  /// These steps stay done although the play says `on_failure: undo`: `reason` says why.
  case undoStopped(play: String, migration: String, steps: [String], reason: String)
  case migrationFinished(play: String, migration: String, MigrationOutcome)
}

/// Hears what happens: the journal, the terminal. The engine waits for each call, and calls from several tasks.
public protocol PlayObserver: Sendable {
  func observe(_ event: PlayEvent) async
}

/// Passes every event on to several observers, in their order.
public struct PlayObservers: PlayObserver {
  public let observers: [any PlayObserver]

  public init(_ observers: [any PlayObserver]) {
    self.observers = observers
  }

  public func observe(_ event: PlayEvent) async {
    for observer in observers { await observer.observe(event) }
  }
}

/// How a step tells how far it has come; a context gets one when it is made.
public final class StepReporter: Sendable {
  private let observer: any PlayObserver
  private let migration: String
  private let place = Mutex<(position: StepPosition?, hasBegun: Bool)>((nil, false))

  public init(observer: any PlayObserver, migration: String) {
    self.observer = observer
    self.migration = migration
  }

  /// One line of progress about the step in hand, or a remark before the first one. Behind a step it goes nowhere.
  public func progress(_ text: String) async {
    let (position, hasBegun) = place.withLock { $0 }
    if let position {
      await observer.observe(.progress(position, text))
    } else if !hasBegun {
      await observer.observe(.remark(migration: migration, text))
    }
  }

  func move(to next: StepPosition?) {
    place.withLock { $0 = (next, true) }
  }
}
