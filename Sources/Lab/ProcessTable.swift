import BlockingIO
package import Glibc

/// A process as /proc shows it. The start time makes it one certain process: a pid alone may be used again.
package struct ProcessEntry: Sendable, Equatable {
  package var pid: pid_t
  package var parent: pid_t
  /// In clock ticks since the machine started.
  var startTime: UInt64
  package var isZombie: Bool
  /// The first 15 bytes of the program's name.
  package var command: String
  package var arguments: [String]
  /// Nil where another user's process hides it.
  package var workingDirectory: String?
  /// Of the environment the process was started with, the lab's id.
  var labID: String?

  /// `/proc/PID/stat`: `4711 (name) S 1 4711 …`, the name in parentheses may hold anything.
  package init?(pid: pid_t) {
    guard let stat = readBytes("/proc/\(pid)/stat"), let open = stat.firstIndex(of: UInt8(ascii: "(")),
      let close = stat.lastIndex(of: UInt8(ascii: ")")), open < close
    else { return nil }
    let fields = String(decoding: stat[(close + 1)...], as: UTF8.self).split(separator: " ")
    guard fields.count > 19, let parent = pid_t(fields[1]), let startTime = UInt64(fields[19]) else { return nil }
    self.pid = pid
    self.parent = parent
    self.startTime = startTime
    isZombie = fields[0] == "Z" || fields[0] == "X"
    command = String(decoding: stat[(open + 1)..<close], as: UTF8.self)
    arguments = Self.strings(readBytes("/proc/\(pid)/cmdline") ?? [])
    workingDirectory = Self.link("/proc/\(pid)/cwd")
    let marker = ProcessTable.marker + "="
    labID = Self.strings(readBytes("/proc/\(pid)/environ") ?? []).first { $0.hasPrefix(marker) }
      .map { String($0.dropFirst(marker.count)) }
  }

  private static func strings(_ bytes: [UInt8]) -> [String] {
    bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }

  private static func link(_ path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink(path, &buffer, buffer.count)
    return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
  }

  /// True while this very process runs.
  package var isAlive: Bool {
    guard let now = ProcessEntry(pid: pid) else { return false }
    return now.startTime == startTime && !now.isZombie
  }
}

/// All processes, and which of them are a lab's.
package struct ProcessTable: Sendable {
  /// The variable that every process of a lab carries in its environment.
  package static let marker = "PGCONVOY_LAB"

  /// In the order of their pids' digits.
  package var entries: [ProcessEntry]

  /// Those that run now, zombies included.
  package static func snapshot() -> ProcessTable {
    ProcessTable(entries: directoryEntries("/proc").compactMap { pid_t($0) }.compactMap { ProcessEntry(pid: $0) })
  }

  /// The processes that belong to a lab, with all their descendants, without this process and its ancestors.
  ///
  /// A process is recognised by what no other can have: the lab's id in its environment; PostgreSQL working in the
  /// lab's storage, whoever started it; an sshd with a configuration from there (it overwrites its environment to
  /// show what it does); a sync process that works on the lab's inventory.
  package func processes(of lab: LabDescription) -> [ProcessEntry] {
    var owned = Set(
      entries.filter {
        $0.labID == lab.id || isPostgres($0, of: lab) || isSSHServer($0, of: lab) || isSync($0, of: lab)
      }.map(\.pid))
    addDescendants(to: &owned)
    for pid in ownLineage() { owned.remove(pid) }
    return entries.filter { owned.contains($0.pid) && !$0.isZombie }
  }

  func isPostgres(_ entry: ProcessEntry, of lab: LabDescription) -> Bool {
    guard entry.command == "postgres" || entry.command == "postmaster", let place = entry.workingDirectory else {
      return false
    }
    return place.hasPrefix(lab.storage + "/")
  }

  func isSSHServer(_ entry: ProcessEntry, of lab: LabDescription) -> Bool {
    entry.command.hasPrefix("sshd")
      && lab.hosts.contains { host in
        entry.arguments.contains { $0.contains(host.sshDirectory + "/") }
      }
  }

  /// `pgconvoy sync -i INVENTORY`, which a play leaves running: it works on servers that are about to vanish.
  func isSync(_ entry: ProcessEntry, of lab: LabDescription) -> Bool {
    guard let program = entry.arguments.first?.split(separator: "/").last, program == "pgconvoy",
      entry.arguments.dropFirst().contains("sync")
    else { return false }
    return entry.arguments.dropFirst().contains { argument in
      let path = argument.hasPrefix("--inventory=") ? String(argument.dropFirst(12)) : argument
      let absolute = path.hasPrefix("/") ? path : (entry.workingDirectory ?? "") + "/" + path
      return path.hasSuffix(".yml") && realPath(absolute) == lab.inventoryFile
    }
  }

  private func addDescendants(to pids: inout Set<pid_t>) {
    var grew = true
    while grew {
      grew = false
      for entry in entries where pids.contains(entry.parent) && pids.insert(entry.pid).inserted { grew = true }
    }
  }

  /// The given processes with all their descendants.
  package func descendants(of roots: [ProcessEntry]) -> [ProcessEntry] {
    var pids = Set(roots.map(\.pid))
    addDescendants(to: &pids)
    return entries.filter { pids.contains($0.pid) && !$0.isZombie }
  }

  private func ownLineage() -> Set<pid_t> {
    var lineage: Set<pid_t> = [1]
    var pid = getpid()
    while pid > 1, lineage.insert(pid).inserted {
      pid = entries.first { $0.pid == pid }?.parent ?? 0
    }
    return lineage
  }

  /// Sends each signal in turn to those that are still there, and waits; true when none is left.
  static func end(_ processes: [ProcessEntry], _ signals: [(signal: Int32, patience: Duration)]) -> Bool {
    var left = processes
    for (signal, patience) in signals {
      left = left.filter(\.isAlive)
      for entry in left { kill(entry.pid, signal) }
      let gone = waitUntil(.after(patience)) {
        left = left.filter(\.isAlive)
        return left.isEmpty
      }
      if gone { return true }
    }
    return left.isEmpty
  }
}
