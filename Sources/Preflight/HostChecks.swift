package import Inventory
package import MigrationCore
import ReplicationModel

/// The two machines: whether they answer, what is installed, what they have in common.
package enum HostChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("source.account", "the source answers and runs commands as the server's user") {
      facts throws(CheckNotMade) in try account(facts, .source)
    },
    PreflightCheck("target.account", "the target answers and runs commands as the server's user") {
      facts throws(CheckNotMade) in try account(facts, .target)
    },
    PreflightCheck("source.installation", "the source's data directory and programs are known") {
      facts throws(CheckNotMade) in try installation(facts, .source)
    },
    PreflightCheck("target.installation", "the target's data directory and programs are known", targetInstallation),
    PreflightCheck("target.programs", "the target has the programs that the migration uses", programs),
    PreflightCheck("hosts.wal-reader", "both hosts have the program that reads the WAL of a closed server", walReader),
    PreflightCheck("hosts.data-directory", "source and target are not one data directory", sameDirectory),
    PreflightCheck("source.cluster-manager", "no cluster manager runs the source") {
      facts throws(CheckNotMade) in try clusterManager(facts, .source)
    },
    PreflightCheck("target.cluster-manager", "no cluster manager runs the target") {
      facts throws(CheckNotMade) in try clusterManager(facts, .target)
    },
    PreflightCheck("target.port", "nothing else listens where the copy is to listen", port),
    PreflightCheck("hosts.clock", "the hosts' clocks agree", clock),
    PreflightCheck("hosts.version-check", "the inventory's version_check prints the same on both", versionCheck),
  ]

  package static func account(_ facts: PreflightFacts, _ side: Side) throws(CheckNotMade) -> [Finding] {
    let host = facts.migration.host(side)
    let user = host.postgres.osUser
    if let error = facts[side].account.error {
      return [
        Finding(
          error, host: host.name, consequence: "nothing can be done on that host",
          remedy: "try: ssh -p \(host.ssh.port) \(host.ssh.user)@\(host.address) id")
      ]
    }
    let name = try facts[side].account.get().name
    guard name != user else { return [] }
    return [
      Finding(
        .error, "preflight.os-user", host: host.name, object: user, "commands for \(user) run as \(name)",
        consequence: "files would belong to the wrong user and the server would not start",
        remedy: "in sudoers: \(host.ssh.user) ALL=(\(user)) NOPASSWD: ALL")
    ]
  }

  static func installation(_ facts: PreflightFacts, _ side: Side) throws(CheckNotMade) -> [Finding] {
    let consequence = "the server there can be neither copied, stopped nor started"
    for error in [facts[side].installation.error, facts[side].machine.error].compactMap(\.self) {
      return [Finding(error, host: facts.name(side), consequence: consequence)]
    }
    _ = try facts[side].machine.get()
    return []
  }

  @Sendable static func targetInstallation(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try installation(facts, .target)
  }

  static let neededPrograms = ["pg_basebackup", "pg_ctl", "postgres", "psql"]

  @Sendable package static func programs(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let present = try facts.target.machine.get().programs
    let missing = neededPrograms.filter { !present.contains($0) }
    guard !missing.isEmpty else { return [] }
    let directory = try facts.target.installation.get().binDirectory
    return [
      Finding(
        .error, "preflight.programs", host: facts.name(.target), object: directory,
        "\(directory) has no \(missing.joined(separator: ", "))",
        consequence: "the base backup could not be made or not be started",
        remedy: "install PostgreSQL's server and client packages there, or set postgres.bin_directory")
    ]
  }

  static let walReading = "pg_waldump"

  @Sendable static func walReader(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    var findings: [Finding] = []
    for side in Side.allCases where try !facts[side].machine.get().programs.contains(walReading) {
      findings.append(
        Finding(
          .warning, "preflight.wal-reader", host: facts.name(side),
          object: try facts[side].installation.get().binDirectory, "there is no \(walReading)",
          consequence: "what others commit there behind a fence is seen in replicated tables only",
          remedy: "install PostgreSQL's server package whole there, or set postgres.bin_directory"))
    }
    return findings
  }

  @Sendable static func sameDirectory(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.machine.get()
    let target = try facts.target.machine.get()
    guard !source.bootID.isEmpty, source.bootID == target.bootID, !source.dataInode.isEmpty,
      source.dataInode == target.dataInode
    else { return [] }
    let directory = try facts.target.installation.get().dataDirectory
    return [
      Finding(
        .error, "preflight.same-data-directory", host: facts.name(.target), object: directory,
        "\(facts.name(.source)) and \(facts.name(.target)) have one data directory, \(directory)",
        consequence: "the source's own data would be moved aside",
        remedy: "give the target's own address and postgres.data_directory in the inventory")
    ]
  }

  static func clusterManager(_ facts: PreflightFacts, _ side: Side) throws(CheckNotMade) -> [Finding] {
    try facts[side].machine.get().clusterManagers.map { manager in
      if side == .target {
        return Finding(
          .error, "preflight.cluster-manager", host: facts.name(side), object: manager,
          "\(manager) manages the target's server",
          consequence: "it would start, reconfigure or rebuild the copy at any moment",
          remedy: "stop and disable \(manager) there until the migration is finished")
      }
      return Finding(
        .warning, "preflight.cluster-manager", host: facts.name(side), object: manager,
        "\(manager) manages the source's server",
        consequence: "after a failover the logical slots are gone, and the copy must be made again",
        remedy: "pause its automatic failover until the migration is finished")
    }
  }

  @Sendable package static func port(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let machine = try facts.target.machine.get()
    let settings = facts.migration.target.postgres
    guard machine.ownPort != settings.port,
      let address = machine.listening.sorted().first(where: {
        ["0.0.0.0", "::"].contains($0) || machine.ownAddresses.contains($0)
      })
    else { return [] }
    return [
      Finding(
        .error, "preflight.port-taken", host: facts.name(.target), object: "\(address):\(settings.port)",
        "\(machine.ownPort == nil ? "something" : "something else") listens on \(address):\(settings.port)",
        consequence: "the copy could not listen there, and pgconvoy would talk to the wrong program",
        remedy: "on that host: ss -ltnp 'sport = :\(settings.port)'; stop what it shows, or correct postgres.port")
    ]
  }

  /// Seconds; the lag in seconds and the report go by both hosts' clocks.
  static let tolerableSkew = 5.0

  @Sendable static func clock(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.account.get()
    let target = try facts.target.account.get()
    let skew = target.clockOffset - source.clockOffset
    let uncertainty = source.clockUncertainty + target.clockUncertainty
    guard skew.magnitude - uncertainty > tolerableSkew else { return [] }
    let seconds = Int(skew.magnitude.rounded())
    return [
      Finding(
        .warning, "preflight.clock-skew", host: facts.name(.target),
        "the target's clock is \(seconds) s \(skew > 0 ? "ahead of" : "behind") the source's",
        consequence: "now() goes back or jumps at the cutover, and lags in seconds are wrong",
        remedy: "timedatectl set-ntp true, on both hosts")
    ]
  }

  @Sendable static func versionCheck(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    var findings: [Finding] = []
    for side in Side.allCases {
      guard let error = facts[side].application.error else { continue }
      findings.append(
        Finding(
          .error, "preflight.version-check", host: facts.name(side), "version_check failed: \(error.message)",
          consequence: "nobody knows whether both hosts have the same application",
          remedy: error.hint ?? "mend version_check in the inventory; it runs as the login user"))
    }
    guard findings.isEmpty else { return findings }
    guard let source = try facts.source.application.get(), let target = try facts.target.application.get(),
      source != target
    else { return [] }
    return [
      Finding(
        .error, "preflight.version-check",
        "version_check prints '\(source)' on \(facts.name(.source)), '\(target)' on \(facts.name(.target))",
        consequence: "another version of the application would run on these databases",
        remedy: "install the same version on both hosts")
    ]
  }
}
