import Foundation
import Synchronization

/// What went wrong, as one line.
struct BenchError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Seconds on the monotonic clock.
func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func note(_ text: String) {
  FileHandle.standardError.write(Data("bench: \(text)\n".utf8))
}

/// Asks until the condition holds.
func wait(
  for what: String, seconds: Double = 60, every interval: UInt32 = 10_000, _ condition: () throws -> Bool
) throws {
  let end = now() + seconds
  while try !condition() {
    if now() > end { throw BenchError("\(what): not within \(Int(seconds)) s") }
    usleep(interval)
  }
}

/// A program that runs beside the harness.
final class Program {
  private let process = Process()
  private let input = Pipe()
  private let errors: URL
  let name: String

  /// Starts it; standard output goes to the file, which is `/dev/null` as a rule.
  init(_ path: String, _ arguments: [String], output: String = "/dev/null", environment: [String: String] = [:]) throws
  {
    name = URL(fileURLWithPath: path).lastPathComponent
    errors = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).log")
    for file in [errors.path, output] where file != "/dev/null" {
      guard FileManager.default.createFile(atPath: file, contents: nil) else {
        throw BenchError("cannot write \(file)")
      }
    }
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    process.standardInput = input
    process.standardOutput = FileHandle(forWritingAtPath: output)
    process.standardError = FileHandle(forWritingAtPath: errors.path)
    try process.run()
  }

  var identifier: Int32 { process.processIdentifier }
  var isRunning: Bool { process.isRunning }
  var messages: String { (try? String(contentsOf: errors, encoding: .utf8)) ?? "" }

  func closeInput() { try? input.fileHandleForWriting.close() }
  func terminate() { process.terminate() }

  /// Waits for its end; an exit status other than 0 is an error, with the last lines of what it said.
  func finish() throws {
    process.waitUntilExit()
    defer { try? FileManager.default.removeItem(at: errors) }
    guard process.terminationStatus == 0 else {
      let tail = messages.split(separator: "\n").suffix(5).joined(separator: " / ")
      throw BenchError("\(name) ended with status \(process.terminationStatus): \(tail)")
    }
  }
}

/// Runs a program to its end.
func run(_ path: String, _ arguments: [String], output: String = "/dev/null", environment: [String: String] = [:])
  throws
{
  let program = try Program(path, arguments, output: output, environment: environment)
  program.closeInput()
  try program.finish()
}

/// CPU time from /proc, user and system, in seconds.
enum CPU {
  private static let tick = 1 / Double(sysconf(Int32(_SC_CLK_TCK)))

  private struct Stat {
    var parent: Int32
    var own: Double
    var reaped: Double
  }

  private static func stat(_ pid: Int32) -> Stat? {
    guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let end = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 14, let parent = Int32(fields[1]) else { return nil }
    let times = fields[11...14].map { Double($0) ?? 0 }
    return Stat(parent: parent, own: (times[0] + times[1]) * tick, reaped: (times[2] + times[3]) * tick)
  }

  private static var processes: [Int32] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { Int32($0) }
  }

  /// A server's: the postmaster, the processes that it has now, and those that it had.
  static func server(_ postmaster: Int32) -> Double {
    guard let own = stat(postmaster) else { return 0 }
    return processes.compactMap { stat($0) }.filter { $0.parent == postmaster }.reduce(own.own + own.reaped) {
      $0 + $1.own
    }
  }

  /// A running program's, with the children that it had.
  static func process(_ pid: Int32) -> Double { stat(pid).map { $0.own + $0.reaped } ?? 0 }

  /// That of all programs which the harness has started and seen end.
  static func ended() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
    return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
      + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
  }
}

func median(_ values: [Double]) -> Double { quantile(values, 0.5) }

/// With linear interpolation between neighbours; 0 for no values.
func quantile(_ values: [Double], _ fraction: Double) -> Double {
  guard !values.isEmpty else { return 0 }
  let sorted = values.sorted()
  let place = fraction * Double(sorted.count - 1)
  let low = Int(place)
  let high = min(low + 1, sorted.count - 1)
  return sorted[low] + (sorted[high] - sorted[low]) * (place - Double(low))
}

func format(_ value: Double, _ digits: Int = 2) -> String { String(format: "%.\(digits)f", value) }
