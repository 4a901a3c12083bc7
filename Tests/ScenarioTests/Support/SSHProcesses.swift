import Glibc
import Lab

extension Scenario {
  /// The sshd processes of one of the lab's hosts that listen.
  func sshdListeners(_ host: LabHost) -> [pid_t] {
    ProcessTable.snapshot().entries.filter { entry in
      entry.arguments.contains { $0.contains(host.sshDirectory + "/") }
    }.map(\.pid)
  }

  func children(of pid: pid_t) -> [pid_t] {
    ProcessTable.snapshot().entries.filter { $0.parent == pid }.map(\.pid)
  }

  /// Processes of pg_basebackup that copy to one of the lab's hosts.
  func baseBackups(to host: LabHost) -> [pid_t] {
    ProcessTable.snapshot().entries.filter { entry in
      entry.arguments.first?.hasSuffix("/pg_basebackup") == true
        && entry.arguments.contains { $0.hasPrefix(host.postgresDirectory) }
    }.map(\.pid)
  }
}
