import BlockingIO
import Glibc
import ReplicationModel

/// Two hosts on this machine, to try a migration on: each with an address, an sshd, a PostgreSQL and runit services
/// of its own.
///
/// A lab is a directory. It runs as root (PostgreSQL as the user `postgres` then) or as an ordinary user, and any
/// number of labs run side by side.
public enum Lab {
  /// Makes and starts a lab.
  ///
  /// The remains of one whose `up` was killed, or whose processes are gone, are cleared away first. When it fails,
  /// nothing keeps running and nothing is left.
  ///
  /// - Parameter progress: gets one line per step.
  /// - Throws: `ConvoyError`: `lab.already-up`, `lab.directory-not-empty`, `lab.missing-programs`, `lab.no-address`,
  ///   `lab.start-failed`, …
  @discardableResult
  public static func up(
    _ options: LabOptions, progress: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws -> LabDescription {
    try checkNames(options.databases ?? LabSchema.chefServer)
    let programs = try Prerequisites.find(pgBin: options.pgBin)
    let account = try Prerequisites.postgresAccount()
    let login = try Prerequisites.loginAccount()
    guard options.program.hasPrefix("/"), access(options.program, X_OK) == 0 else {
      throw ConvoyError(
        "lab.missing-programs", "the services need the pgconvoy program, which is not at this path",
        at: .path(options.program), kind: .usage)
    }
    let directory = try await onDedicatedThread("lab-open") { try LabDirectory.openForStart(options.directory) }
    if let old = try directory.read() {
      try await onDedicatedThread("lab-clean") { try clearRemains(of: old, progress: progress) }
    }

    var lab = LabDescription(
      id: HandOffNames.random().nonce, phase: .starting, directory: directory.path, storage: directory.path,
      databases: options.databases ?? LabSchema.chefServer, osUser: account.name, sshUser: login.name,
      program: options.program, pgBin: programs.pgBin, appConnections: options.appConnections,
      appRate: options.appRate)
    try directory.write(lab)
    do {
      let building = lab
      lab.storage = try await onDedicatedThread("lab-storage") { try makeStorage(building, account: account) }
      try directory.write(lab)
      let ports = LabPorts()
      let addresses = try LoopbackAddresses.claim(ports: [ports.ssh, ports.postgres])
      for (name, address) in zip([LabDescription.sourceName, LabDescription.targetName], addresses.addresses) {
        lab.hosts.append(
          LabHost(
            name: name, address: address, sshPort: ports.ssh, postgresPort: ports.postgres,
            directory: "\(lab.storage)/hosts/\(name)"))
      }
      try directory.write(lab)
      let builder = LabBuilder(lab: lab, programs: programs, account: account, progress: progress)
      try await builder.build()
      lab.phase = .up
      try directory.write(lab)
      withExtendedLifetime((addresses, directory)) {}
      return lab
    } catch {
      let failed = lab
      try? await onDedicatedThread("lab-clean") { try LabTeardown(lab: failed, progress: { _ in }).removeAll() }
      withExtendedLifetime(directory) {}
      if error is CancellationError {
        throw ConvoyError(
          "lab.interrupted", "the start of the lab was interrupted", at: .path(lab.directory), kind: .interrupted)
      }
      throw error
    }
  }

  /// Ends every process of the lab, and removes its directory with all that is in it.
  ///
  /// Works just as well on a lab that is half made, half dead, or that a migration has changed.
  ///
  /// - Throws: `ConvoyError`: `lab.not-a-lab`, `lab.busy`, or what could not be ended or removed.
  public static func down(
    directory: String, progress: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws {
    let opened = try await onDedicatedThread("lab-open") { try LabDirectory.open(directory) }
    guard let lab = try opened.read() else { return }
    try await onDedicatedThread("lab-down") { try LabTeardown(lab: lab, progress: progress).removeAll() }
    withExtendedLifetime(opened) {}
  }

  /// The lab as its marker file describes it: addresses, ports, paths.
  ///
  /// - Throws: `ConvoyError` `lab.not-a-lab` or `lab.unreadable`.
  public static func describe(directory: String) throws -> LabDescription {
    try LabDirectory.describe(directory)
  }

  private static func checkNames(_ names: [String]) throws {
    var seen: Set<String> = []
    for name in names {
      let reserved = ["postgres", "template0", "template1"].contains(name)
      let usable = (1...63).contains(name.utf8.count) && !name.utf8.contains(0) && !reserved
      guard usable, seen.insert(name).inserted else {
        throw ConvoyError(
          "lab.database-name", "the lab cannot have a database called '\(name)'\(usable ? " twice" : "")",
          hint: "database names have 1 to 63 bytes and are not postgres, template0 or template1", kind: .usage)
      }
    }
    guard !names.isEmpty else {
      throw ConvoyError("lab.database-name", "the lab needs at least one database", kind: .usage)
    }
  }

  private static func clearRemains(of lab: LabDescription, progress: @Sendable (String) -> Void) throws {
    if lab.phase == .up && !ProcessTable.snapshot().processes(of: lab).isEmpty {
      throw ConvoyError(
        "lab.already-up", "the lab is up already", at: .path(lab.directory),
        hint: "use it, or end it with 'pgconvoy lab down --dir DIR'", kind: .usage)
    }
    progress("clearing the remains of an earlier lab")
    try LabTeardown(lab: lab, progress: { _ in }).removeContent()
  }

  /// Returns where the hosts' files go, and makes that place passable for PostgreSQL's user.
  private static func makeStorage(_ lab: LabDescription, account: Account) throws -> String {
    if geteuid() == 0, chmod(lab.directory, 0o711) != 0 { throw systemError("change mode of", lab.directory) }
    var storage = lab.directory
    if try !LabDirectory.canHoldHosts(lab.directory, account: account) {
      storage = LabDirectory.storage(labID: lab.id)
      try makeDirectory(storage, mode: 0o711)
      guard symlink(storage + "/hosts", lab.directory + "/hosts") == 0 else {
        throw systemError("make link", lab.directory + "/hosts")
      }
    }
    try makeDirectory(storage + "/hosts", mode: 0o711)
    try makeDirectory(lab.directory + "/acknowledged", mode: 0o755)
    return storage
  }
}

/// The ports of both hosts: fixed, since each host has an address of its own, and below those that the system gives
/// to outgoing connections.
private struct LabPorts {
  let ssh = 10022
  let postgres = 15432
}
