import Glibc

@testable import Lab

extension Scenario {
  /// The sshd processes of one of the lab's hosts that listen.
  func sshdListeners(_ host: LabHost) -> [pid_t] {
    directoryEntries("/proc").compactMap { pid_t($0) }.filter { pid in
      readBytes("/proc/\(pid)/cmdline").map { String(decoding: $0, as: UTF8.self) }?
        .contains(host.sshDirectory + "/") == true
    }
  }

  func children(of pid: pid_t) -> [pid_t] {
    ((try? readText("/proc/\(pid)/task/\(pid)/children")) ?? "").split(separator: " ").compactMap { pid_t($0) }
  }
}
