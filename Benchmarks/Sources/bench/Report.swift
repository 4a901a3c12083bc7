import Foundation

/// The tables, as Markdown.
struct Report {
  private(set) var text = ""

  mutating func line(_ line: String = "") { text += line + "\n" }

  mutating func machine(rounds: Int, scale: Double) throws {
    let cpu = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n")
      .first { $0.hasPrefix("model name") }?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) }
    let memory = ProcessInfo.processInfo.physicalMemory >> 30
    line(
      "\(cpu ?? "unknown CPU"), \(ProcessInfo.processInfo.activeProcessorCount) cores, \(memory) GB of memory; "
        + "medians of \(rounds) interleaved rounds; scale \(format(scale, 2)).")
    line()
  }

  mutating func race(_ workload: Workload, _ results: [Result]) {
    line("### \(workload.name): \(workload.title)")
    line()
    line("| | seconds | min–max | × native text | changes/s | CPU s | source | target | worker | CPU ÷ native |")
    line("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    let native = results.first { $0.contender == "CREATE SUBSCRIPTION, text" && !$0.measurements.isEmpty }
    for result in results {
      guard result.failure == nil, !result.measurements.isEmpty else {
        line("| \(result.contender) | failed: \(result.failure ?? "not run") | | | | | | | | |")
        continue
      }
      let wall = result.median { $0.wall }
      let walls = result.measurements.map { $0.wall }
      let cpu = result.median { $0.cpu }
      let speed = native.map { format($0.median { $0.wall } / wall) } ?? ""
      let load = native.map { format(cpu / $0.median { $0.cpu }) } ?? ""
      line(
        "| \(result.contender) | \(format(wall)) | \(format(walls.min() ?? 0))–\(format(walls.max() ?? 0)) | \(speed) "
          + "| \(Int(Double(workload.changes) / wall)) | \(format(cpu)) | \(format(result.median { $0.source })) "
          + "| \(format(result.median { $0.target })) | \(format(result.median { $0.worker })) | \(load) |")
    }
    line()
  }
}
