import ArgumentParser
import Glibc
import Inventory
import MigrationCore
import PostgresClient
import ReplicationModel

/// The program's entry: parse, run, and turn whatever goes wrong into one line, a hint and an exit status.
///
/// Exit status: 0 done; 1 a migration or check failed; 2 wrong usage or unreadable input; 3 interrupted, safe to run
/// again.
@main
enum Main {
  static func main() async {
    forgetOverrulingVariables()
    Interrupts.install()
    do {
      let task = Task {
        var command = try Pgconvoy.parseAsRoot()
        if var asynchronous = command as? any AsyncParsableCommand {
          try await asynchronous.run()
        } else {
          try command.run()
        }
      }
      Interrupts.onInterrupt { task.cancel() }
      try await task.value
      try Terminal.checkOutput()
    } catch {
      exit(Outcome.report(error))
    }
  }
}

/// What an error means for the person at the terminal and for the shell.
enum Outcome {
  /// Writes the error to standard error (help and version to standard output) and returns the exit status.
  static func report(_ error: any Error) -> Int32 {
    switch error {
    case let error as ConvoyError:
      Terminal.error(error.description)
      if let cause = error.cause, !cause.isEmpty, !error.message.contains(cause) {
        for line in cause.split(separator: "\n") { Terminal.error("  \(line)") }
      }
      return error.exitStatus
    case let errors as InputErrors:
      Terminal.error(errors.description)
      return errors.exitStatus
    case is CancellationError:
      Terminal.error("interrupted; it is safe to run the same command again")
      return 3
    case let code as ExitCode:
      return code.rawValue
    default:
      return reportUsage(error)
    }
  }

  private static func reportUsage(_ error: any Error) -> Int32 {
    let status = Pgconvoy.exitCode(for: error)
    if status.isSuccess {
      Terminal.output(Pgconvoy.fullMessage(for: error))
      return 0
    }
    guard status == .validationFailure else {
      Terminal.error("error: \(error)")
      return 1
    }
    let message = Pgconvoy.message(for: error)
    let line = message.split(separator: "\n").first.map(String.init) ?? "wrong usage"
    Terminal.error("error: \(line.prefix(1).lowercased() + line.dropFirst()) [usage]")
    Terminal.error("hint: see 'pgconvoy help' or 'pgconvoy help COMMAND'")
    return 2
  }
}
