import BlockingIO
import ReplicationModel

/// A host's runit: a service directory of its own with the application, `app`, and a second service, `web`.
struct RunitServices: Sendable {
  var lab: LabDescription
  var host: LabHost
  var programs: Prerequisites

  /// Writes the services; on the target they are down, for the cutover to start.
  func install() throws {
    try makeDirectory(host.serviceDirectory, mode: 0o755)
    try makeDirectory(host.logDirectory, mode: 0o755)
    for (name, command) in [("app", "writer"), ("web", "reader")] {
      let directory = host.serviceDirectory + "/" + name
      try makeDirectory(directory, mode: 0o755)
      let words = [lab.program, "lab", command, "--dir", lab.directory, "--host", host.name].map(shellQuoted)
      try writeFile(
        directory + "/run",
        "#!/bin/sh\nexec >>\(shellQuoted("\(host.logDirectory)/\(name).log")) 2>&1\nexec \(words.joined(separator: " "))\n",
        mode: 0o755)
      if host.name == LabDescription.targetName { try writeFile(directory + "/down", "") }
    }
  }

  /// Starts runit and waits until the services are in the state that they should be in.
  func start() throws {
    let log = host.logDirectory + "/runsvdir.log"
    try ChildProcess.startDaemon(
      programs.runsvdir, ["-P", host.serviceDirectory], environment: [ProcessTable.marker: lab.id],
      pidFile: host.directory + "/runsvdir.pid", log: log)
    let wanted = host.name == LabDescription.sourceName ? "run" : "down"
    for service in LabDescription.services {
      var state = ""
      let reached = try waitUntil(.after(.seconds(20))) {
        state = try Self.state(of: service, on: host, sv: programs.sv)
        return state.hasPrefix(wanted + ":")
      }
      if !reached {
        throw ConvoyError(
          "lab.start-failed", "service \(service) is not \(wanted == "run" ? "up" : "down") after 20 s: \(state)",
          at: .host(host.name), cause: tail("\(host.logDirectory)/\(service).log") ?? tail(log))
      }
    }
  }

  /// What `sv status` says: `run: /…/app: (pid 4711) 5s`, `down: /…/app: 3s, normally up`.
  static func state(of service: String, on host: LabHost, sv: String) throws -> String {
    try ChildProcess.run(sv, ["status", host.serviceDirectory + "/" + service]).output
  }
}
