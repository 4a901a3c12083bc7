import Glibc
import Lab
import ReplicationModel

/// `lab up|down|status|writer|reader --dir DIR …` without the rest of pgconvoy: what the tests start as a process of
/// its own, to kill it or to run it as another user, and what the services of their labs run.
@main
struct LabProgram {
  static func main() async {
    var arguments = CommandLine.arguments.dropFirst()
    if arguments.first == "lab" { arguments.removeFirst() }
    let command = arguments.popFirst() ?? ""
    var values: [String: String] = [:]
    while let name = arguments.popFirst() { values[name] = arguments.popFirst() }
    let directory = values["--dir"] ?? ""
    do {
      switch command {
      case "up":
        let databases = values["--databases"]?.split(separator: ",").map(String.init)
        try await Lab.up(
          LabOptions(directory: directory, databases: databases, pgBin: values["--pg-bin"]), progress: say)
      case "down": try await Lab.down(directory: directory, progress: say)
      case "status": say(try await Lab.status(directory: directory).rendered)
      case "writer": try await Lab.runWriter(directory: directory, host: values["--host"] ?? "")
      case "reader": try await Lab.runReader(directory: directory, host: values["--host"] ?? "")
      default: throw ConvoyError("lab.usage", "unknown command '\(command)'", kind: .usage)
      }
    } catch {
      say("\(error)" + ((error as? ConvoyError)?.cause.map { "\n" + $0 } ?? ""))
      exit((error as? ConvoyError)?.exitStatus ?? 1)
    }
  }

  /// Unbuffered: a test that kills this program goes by its last line.
  @Sendable static func say(_ text: String) { _ = write(STDOUT_FILENO, text + "\n", text.utf8.count + 1) }
}
