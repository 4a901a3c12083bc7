import Foundation

/// CPU time from /proc, user and system, in seconds.
enum CPU {
  private static let tick = 1 / Double(sysconf(Int32(_SC_CLK_TCK)))

  private struct Stat {
    var pid: Int32
    var parent: Int32
    var own: Double
    /// That of the children which it has seen end.
    var reaped: Double
  }

  private static func stat(_ pid: Int32) -> Stat? {
    guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let end = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 14, let parent = Int32(fields[1]) else { return nil }
    let times = fields[11...14].map { Double($0) ?? 0 }
    return Stat(
      pid: pid, parent: parent, own: max(precise(pid), (times[0] + times[1]) * tick),
      reaped: (times[2] + times[3]) * tick)
  }

  /// The scheduler's own count in nanoseconds, for the threads that there are; the ticks of `stat` are too coarse for a
  /// trickle, but know of threads that ended. 0 where the kernel keeps no such count.
  private static func precise(_ pid: Int32) -> Double {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
    return tasks.reduce(0) { sum, task in
      let text = try? String(contentsOfFile: "/proc/\(pid)/task/\(task)/schedstat", encoding: .utf8)
      return sum + (text?.split(separator: " ").first.flatMap { Double($0) } ?? 0) / 1e9
    }
  }

  private static var all: [Stat] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { Int32($0) }
      .compactMap { stat($0) }
  }

  /// A program's: its own, that of the processes below it, and of those that it had. A server's postmaster is such a
  /// program.
  static func tree(_ root: Int32) -> Double {
    // A child that ends between two looks would be missed, or counted twice: look again when one did.
    while let before = stat(root) {
      let processes = all
      guard let after = stat(root), after.reaped == before.reaped else { continue }
      var sum = before.own
      var layer = [before]
      while !layer.isEmpty {
        sum += layer.reduce(0) { $0 + $1.reaped }
        let parents = Set(layer.map { $0.pid })
        layer = processes.filter { parents.contains($0.parent) }
        sum += layer.reduce(0) { $0 + $1.own }
      }
      return sum
    }
    return 0
  }

  /// A program and the processes below it.
  static func members(_ root: Int32) -> [Int32] {
    let processes = all
    var (found, layer) = ([root], [root])
    while !layer.isEmpty {
      layer = processes.filter { layer.contains($0.parent) }.map { $0.pid }
      found += layer
    }
    return found
  }

  /// That of all programs which the harness has started and seen end.
  static func ended() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
    return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
      + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
  }
}
