import Glibc
import MigrationCore
import Playbook
import Presentation
import ReplicationModel
import Synchronization

/// Standard output and standard error, written whole lines at a time.
enum Terminal {
  /// Why standard output did not take something, as an `errno`.
  private static let outputFailure = Mutex<Int32?>(nil)

  /// Throws when something that was written to standard output is lost. A reader that has gone away wanted no more.
  static func checkOutput() throws(ConvoyError) {
    guard let reason = outputFailure.withLock({ $0 }), reason != EPIPE else { return }
    throw ConvoyError(
      "output.failed", "standard output did not take all of it: \(String(cString: strerror(reason)))",
      hint: "is the disk full? What has come out is incomplete")
  }

  static func output(_ text: String) { write(text, to: STDOUT_FILENO) }
  static func error(_ text: String) { write(text, to: STDERR_FILENO) }

  static func output(bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }

  private static func write(_ text: String, to file: Int32) {
    write(Array(text.utf8) + (text.hasSuffix("\n") ? [] : [UInt8(ascii: "\n")]), to: file)
  }

  private static func write(_ bytes: [UInt8], to file: Int32) {
    bytes.withUnsafeBytes { buffer in
      var offset = 0
      while offset < buffer.count {
        let count = Glibc.write(file, buffer.baseAddress! + offset, buffer.count - offset)
        if count < 0 && errno == EINTR { continue }
        if count <= 0 {
          if file == STDOUT_FILENO { outputFailure.withLock { [errno] in $0 = $0 ?? errno } }
          return
        }
        offset += count
      }
    }
  }

  /// How to lay text out for whoever reads standard output.
  static var style: TextStyle {
    guard isatty(STDOUT_FILENO) == 1 else { return .plain }
    var size = winsize()
    let known = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    return .terminal(columns: known ? Int(size.ws_col) : nil) { name in getenv(name).map { String(cString: $0) } }
  }

  static var canAsk: Bool { isatty(STDIN_FILENO) == 1 }

  /// Asks about one step; anything but a yes stops.
  static func choose(_ question: String) -> StepAnswer {
    guard canAsk else { return .stop }
    output("\(question) [y]es, [a]ll from here on, [N]o, stop here")
    switch readLine()?.lowercased() {
    case "y", "yes": return .yes
    case "a", "all": return .all
    default: return .stop
    }
  }

  /// Asks on the terminal; no terminal is a no.
  static func confirm(_ question: String) -> Bool {
    guard canAsk else { return false }
    output("\(question)\nGo on? [y/N] ")
    guard let answer = readLine() else { return false }
    return ["y", "yes"].contains(answer.lowercased())
  }
}
