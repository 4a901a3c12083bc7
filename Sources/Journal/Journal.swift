import BlockingIO
public import ReplicationModel

/// The journal for async code: the calls of a `JournalFile`, on a thread of their own.
///
/// ```swift
/// let run = try await journal.perform { file throws(ConvoyError) in try file.beginRun(command: line) }
/// ```
/// A cancelled task's calls are carried out all the same: that a step was interrupted is worth keeping.
public actor Journal {
  /// The same journal for code that is on a dedicated thread already.
  public nonisolated let file: JournalFile
  private let thread = DedicatedThread(name: "journal")

  public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  public init(file: JournalFile) {
    self.file = file
  }

  /// Opens the journal without blocking the caller's executor. Errors as `JournalFile.init` throws them.
  public static func open(stateDirectory: StateDirectory) async throws -> Journal {
    Journal(file: try await onDedicatedThread("journal-open") { try JournalFile(stateDirectory: stateDirectory) })
  }

  /// Runs calls on the journal's thread, one `perform` after the other.
  public func perform<Result: Sendable>(
    _ body: @Sendable (JournalFile) throws(ConvoyError) -> Result
  ) throws(ConvoyError) -> Result {
    try body(file)
  }
}
