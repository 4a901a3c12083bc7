import BlockingIO
import Glibc
import ReplicationModel

/// Ends and removes a lab, in whatever state it is.
///
/// Goes by what runs and what lies there now, not by what `lab up` once started: services restart, a migration
/// replaces a data directory and starts PostgreSQL anew.
struct LabTeardown: Sendable {
  var lab: LabDescription
  var progress: @Sendable (String) -> Void

  /// The processes, the content, and the directory itself.
  func removeAll() throws {
    try removeContent()
    guard rmdir(lab.directory) == 0 || errno == ENOENT else { throw systemError("remove", lab.directory) }
  }

  /// The marker file goes last: until then a second `lab down` knows what is left to do.
  func removeContent() throws {
    endProcesses()
    let left = ProcessTable.snapshot().processes(of: lab)
    guard left.isEmpty else {
      let names = left.map { "\($0.command) (pid \($0.pid))" }.joined(separator: ", ")
      throw ConvoyError(
        "lab.processes-left", "these processes of the lab do not end: \(names)", at: .path(lab.directory),
        hint: "end them, then run 'pgconvoy lab down' again")
    }
    progress("removing files")
    removeSharedMemory()
    PrivilegeSeparationDirectory.release(labID: lab.id)
    // The storage may exist although the marker does not say so yet.
    try removeTree(LabDirectory.storage(labID: lab.id))
    for name in directoryEntries(lab.directory) where name != LabDirectory.markerName {
      try removeTree("\(lab.directory)/\(name)")
    }
    guard unlink("\(lab.directory)/\(LabDirectory.markerName)") == 0 || errno == ENOENT else {
      throw systemError("remove", "\(lab.directory)/\(LabDirectory.markerName)")
    }
  }

  private func endProcesses() {
    progress("ending sync processes and sshd")
    _ = ProcessTable.end(
      pick { table in table.entries.filter { table.isSync($0, of: lab) } },
      [(SIGTERM, .seconds(10)), (SIGKILL, .seconds(5))])
    let sessions = pick { table in table.descendants(of: table.entries.filter { table.isSSHServer($0, of: lab) }) }
    _ = ProcessTable.end(
      sessions.filter { $0.command != "postgres" }, [(SIGTERM, .seconds(5)), (SIGKILL, .seconds(5))])

    progress("ending the services")
    let services = pick { table in
      table.descendants(of: table.entries.filter { $0.labID == lab.id && $0.command.hasPrefix("runsv") })
    }
    for entry in services {
      // runsvdir, told to hang up, has every runsv end its service. Without runsvdir, each runsv is told.
      let isOrphan = !services.contains { $0.pid == entry.parent }
      if entry.command == "runsvdir" { kill(entry.pid, SIGHUP) }
      if entry.command == "runsv" && isOrphan { kill(entry.pid, SIGTERM) }
    }
    _ = ProcessTable.end(services, [(0, .seconds(12)), (SIGKILL, .seconds(5))])

    progress("stopping postgresql")
    // A postmaster is a postgres that is not another one's child. Fast, then immediate, as pg_ctl stop does it.
    let servers = pick { table in table.entries.filter { table.isPostgres($0, of: lab) } }
    _ = ProcessTable.end(
      servers.filter { server in !servers.contains { $0.pid == server.parent } },
      [(SIGINT, .seconds(15)), (SIGQUIT, .seconds(10)), (SIGKILL, .seconds(5))])

    // What is left: processes that outlived their parents.
    _ = ProcessTable.end(pick(\.entries), [(SIGTERM, .seconds(3)), (SIGKILL, .seconds(5))])
  }

  /// Those of the lab's processes that are in a selection.
  private func pick(_ selection: (ProcessTable) -> [ProcessEntry]) -> [ProcessEntry] {
    let table = ProcessTable.snapshot()
    let selected = Set(selection(table).map(\.pid))
    return table.processes(of: lab).filter { selected.contains($0.pid) }
  }

  /// The small System V segments of servers that were killed and never started again.
  private func removeSharedMemory() {
    for host in lab.hosts {
      for name in directoryEntries(host.postgresDirectory) {
        guard let file = PostmasterFile(dataDirectory: "\(host.postgresDirectory)/\(name)"),
          let segment = file.sharedMemoryID, segmentIsAbandoned(segment, creator: file.pid)
        else { continue }
        _ = try? ChildProcess.run("/usr/bin/ipcrm", ["-m", String(segment)])
      }
    }
  }

  /// `/proc/sysvipc/shm`: key, shmid, perms, size, cpid, lpid, nattch, …
  private func segmentIsAbandoned(_ segment: Int, creator: pid_t) -> Bool {
    let table = (try? readText("/proc/sysvipc/shm")) ?? ""
    return table.split(separator: "\n").contains { line in
      let fields = line.split(separator: " ")
      return fields.count > 6 && Int(fields[1]) == segment && pid_t(fields[4]) == creator && fields[6] == "0"
    }
  }
}
