public import Inventory

/// What a step works with for one migration: connections, settings, the journal. The engine makes one for each
/// migration of a play and closes it when that migration is through, undoing included.
public protocol StepContext: Sendable {
  var migrationName: String { get }
  /// Gives back what the context holds. Called once, also after a failure.
  func close() async
}

extension StepContext {
  public func close() async {}
}

/// One unit of work on one migration. A step knows what it would do, whether it is done, and how to take it back.
///
/// The engine calls `isDone` first, then `plan` (check mode) or `run`. A step never sees another step; it finds what
/// came before in the state of the servers and in the context.
public protocol Step<Context>: Sendable {
  associatedtype Context: StepContext

  /// Exactly what `run` would do now. Changes nothing. In check mode the steps before this one have not run: a plan
  /// that depends on them says so in a note.
  func plan(_ context: Context) async throws -> [PlannedAction]

  /// Whether there is nothing left to do, so that a second run is a no-op. Changes nothing; must have an answer at
  /// any time, also before the steps that come earlier have run.
  func isDone(_ context: Context) async throws -> Bool

  /// Does it. Throws when it could not, and when its task is cancelled.
  func run(_ context: Context) async throws -> StepResult

  /// What `run` would destroy of this migration, or whom it would hold up, beyond what the step's definition says. The
  /// engine asks before the migration's first step, unless `yes` is given. Nil: nothing.
  func destruction(_ context: Context) async throws -> String?

  /// What a person should know of this migration before they answer a question about it: how long somebody will be held
  /// up, say. One line; nil: nothing.
  func expectation(_ context: Context) async throws -> String?

  /// Takes back what `run` did, or as much of it as a failed or interrupted `run` has done. Called for a step that
  /// was done already, too: an earlier run of the play may have been killed behind it.
  func undo(_ context: Context) async throws -> UndoResult

  /// The hosts that it works on, for the recap's counts by host.
  var sides: [Side] { get }

  /// Once such a step is passed, neither it nor anything before it in its play is undone.
  var isPointOfNoReturn: Bool { get }

  /// For a point of no return: whether an earlier run has begun it, finished or not. By default, whether it is done.
  func isPassed(_ context: Context) async throws -> Bool

  /// For a point of no return that has failed: whether it was passed nevertheless. By default it was: nobody knows how
  /// far it has come.
  func isPassedByItsFailure(_ context: Context) async throws -> Bool

  /// Whether `undo` is called too when `run` itself failed half-way, before the steps that came earlier.
  var isUndoneAfterItsOwnFailure: Bool { get }

  /// Whether `undo` needs that all steps behind this one are undone: one of them that could not be leaves this one done too.
  var isUndoneBehindOthersOnly: Bool { get }
}

extension Step {
  public func destruction(_ context: Context) async throws -> String? { nil }
  public func expectation(_ context: Context) async throws -> String? { nil }
  public func undo(_ context: Context) async throws -> UndoResult { .nothingToUndo }
  public var sides: [Side] { Side.allCases }
  public var isPointOfNoReturn: Bool { false }
  public func isPassed(_ context: Context) async throws -> Bool { try await isDone(context) }
  public func isPassedByItsFailure(_ context: Context) async throws -> Bool { true }
  public var isUndoneAfterItsOwnFailure: Bool { true }
  public var isUndoneBehindOthersOnly: Bool { false }
}

/// One thing that a step would do, as exact as it can be told.
public struct PlannedAction: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    /// A shell command.
    case command
    /// An SQL statement in that database.
    case sql(database: String)
    /// A file's text before and after; nil where it does not exist.
    case file(old: String?, new: String?)
    /// Waiting for a condition.
    case wait
    /// Anything else that a reader of the plan should know.
    case note
  }

  /// Where it happens; nil: on this machine.
  public var host: String?
  public var kind: Kind
  /// The command, the statement, the file's path, the condition, the note.
  public var text: String

  public init(host: String? = nil, _ kind: Kind, _ text: String) {
    self.host = host
    self.kind = kind
    self.text = text
  }
}

/// A number that a step reports: rows, bytes, databases.
public struct StepFigure: Sendable, Equatable {
  public enum Unit: Sendable, Equatable { case count, bytes }

  public var name: String
  public var value: UInt64
  public var unit: Unit

  public init(_ name: String, _ value: UInt64, _ unit: Unit = .count) {
    self.name = name
    self.value = value
    self.unit = unit
  }
}

/// What a step did for one database.
public struct DatabaseRecord: Sendable, Equatable {
  public var name: String
  /// Nil where the databases were worked on as one.
  public var duration: Duration?
  public var bytes: UInt64?

  public init(_ name: String, duration: Duration? = nil, bytes: UInt64? = nil) {
    self.name = name
    self.duration = duration
    self.bytes = bytes
  }
}

/// What a step did.
public struct StepResult: Sendable, Equatable {
  /// Whether anything is different now.
  public var changed: Bool
  /// One line.
  public var summary: String
  public var figures: [StepFigure]
  public var databases: [DatabaseRecord]

  public init(
    changed: Bool, _ summary: String, figures: [StepFigure] = [], databases: [DatabaseRecord] = []
  ) {
    self.databases = databases
    self.changed = changed
    self.summary = summary
    self.figures = figures
  }
}

/// What undoing a step came to.
public enum UndoResult: Sendable, Equatable {
  case nothingToUndo
  /// One line: what was taken back.
  case undone(String)
}
