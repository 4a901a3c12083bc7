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

/// What fits into a cell of the table.
func oneLine(_ text: String) -> String {
  let line = text.split(whereSeparator: { $0.isNewline }).joined(separator: " / ")
  return (line.count > 200 ? line.prefix(200) + "…" : line).replacingOccurrences(of: "|", with: "\\|")
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

  /// Waits for its end; an exit status other than 0 is an error, with the last lines of what it said. One that takes
  /// longer than so many seconds is ended, which is an error too.
  func finish(within seconds: Double = .infinity) throws {
    if seconds.isFinite {
      let limit = now() + seconds
      while isRunning, now() < limit { usleep(5_000) }
      if isRunning { for member in CPU.members(identifier) { kill(member, SIGKILL) } }
    }
    process.waitUntilExit()
    defer { try? FileManager.default.removeItem(at: errors) }
    guard process.terminationReason == .exit, process.terminationStatus == 0 else {
      let tail = messages.split(separator: "\n").suffix(5).joined(separator: " / ")
      throw BenchError("\(name) ended with status \(process.terminationStatus): \(tail)")
    }
  }

  /// Ends it and what it started, where it still runs, and asks for no status. Foundation takes a program for running
  /// as long as one of its children does.
  func end() {
    guard isRunning else { return }
    let members = CPU.members(identifier)
    for member in members { kill(member, SIGTERM) }
    let limit = now() + 5
    while isRunning, now() < limit { usleep(5_000) }
    if isRunning { for member in members { kill(member, SIGKILL) } }
    try? finish()
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
