import BlockingIO
import Glibc
import Presentation
import ReplicationModel

/// What of a lab runs.
public struct LabStatus: Sendable, Equatable {
  public struct Component: Sendable, Equatable {
    /// `sshd`, `postgresql`, or a service's name.
    public var name: String
    /// Nil for a service, which listens nowhere.
    public var port: Int?
    /// Nil when it does not run.
    public var pid: Int32?
    /// `running` or `stopped`; for PostgreSQL what its postmaster says, `ready`, `standby`, `starting`, `stopping`;
    /// for a service what runit says, `run`, `down`, `finish`, and `unsupervised` when its runsv is gone.
    public var state: String
  }

  public struct Host: Sendable, Equatable {
    public var name: String
    public var address: String
    public var components: [Component]
  }

  public var directory: String
  /// False for a lab whose `up` is at work, or was killed.
  public var isComplete: Bool
  public var hosts: [Host]

  /// The table that `pgconvoy lab status` prints, with a line end after each line.
  public var rendered: String {
    var table = TextTable(titles: ["HOST", "ADDRESS", "COMPONENT", "PORT", "STATE", "PID"])
    for host in hosts {
      for component in host.components {
        table.add([
          host.name, host.address, component.name, component.port.map(String.init) ?? "-", component.state,
          component.pid.map(String.init) ?? "-",
        ])
      }
    }
    let title = "lab \(directory): \(isComplete ? "up" : "incomplete, its start is under way or was interrupted")"
    return "\(title)\n\n" + table.text()
  }
}

extension Lab {
  /// What of the lab runs, as /proc, PostgreSQL's `postmaster.pid` and runit show it.
  ///
  /// - Throws: `ConvoyError` `lab.not-a-lab`, `lab.unreadable` or `lab.missing-programs`.
  public static func status(directory: String) async throws -> LabStatus {
    let lab = try LabDirectory.describe(directory)
    let sv = try Prerequisites.find(pgBin: lab.pgBin).sv
    return try await onDedicatedThread("lab-status") {
      let hosts = try lab.hosts.map { host in
        LabStatus.Host(
          name: host.name, address: host.address,
          components: [sshServer(of: host, in: lab), postgres(of: host)]
            + (try LabDescription.services.map { try service($0, of: host, sv: sv) }))
      }
      return LabStatus(directory: lab.directory, isComplete: lab.phase == .up, hosts: hosts)
    }
  }

  private static func sshServer(of host: LabHost, in lab: LabDescription) -> LabStatus.Component {
    let recorded = (try? readText(SSHServer.pidFile(of: host))).flatMap { pid_t($0.trimmingLineEnds()) }
    let entry = recorded.flatMap { ProcessEntry(pid: $0) }.flatMap { entry in
      ProcessTable(entries: [entry]).isSSHServer(entry, of: lab) && entry.isAlive ? entry : nil
    }
    return LabStatus.Component(
      name: "sshd", port: host.sshPort, pid: entry?.pid, state: entry == nil ? "stopped" : "running")
  }

  private static func postgres(of host: LabHost) -> LabStatus.Component {
    var component = LabStatus.Component(name: "postgresql", port: host.postgresPort, pid: nil, state: "stopped")
    if let file = PostmasterFile(dataDirectory: host.dataDirectory), let entry = ProcessEntry(pid: file.pid),
      entry.isAlive, entry.workingDirectory == realPath(host.dataDirectory) || entry.workingDirectory == nil
    {
      component.pid = file.pid
      component.state = file.state
    }
    return component
  }

  private static func service(_ name: String, of host: LabHost, sv: String) throws -> LabStatus.Component {
    let text = try RunitServices.state(of: name, on: host, sv: sv)
    var component = LabStatus.Component(name: name, port: nil, pid: nil, state: "unsupervised")
    guard let word = text.split(separator: ":").first, ["run", "down", "finish"].contains(word) else {
      return component
    }
    component.state = String(word)
    if let opening = text.firstRange(of: "(pid "), let closing = text[opening.upperBound...].firstIndex(of: ")") {
      component.pid = pid_t(text[opening.upperBound..<closing])
    }
    return component
  }
}
