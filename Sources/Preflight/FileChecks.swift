import HostAdmin
import Inventory
import MigrationCore

/// What lies in the data directories: whether the server's user can read it, and whether it is where it seems to be.
enum FileChecks {
  static let all: [PreflightCheck] = [
    PreflightCheck(
      "source.files", "the source's server can read its own data directory, and all of it is there", source),
    PreflightCheck("target.files", "the configuration that the copy keeps can be read", target),
  ]

  @Sendable static func source(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    if facts.hasCopy.value == true { return [] }
    let host = facts.name(.source)
    if let error = facts.sourceFiles.error {
      return [Finding(error, host: host, consequence: "nobody knows whether all of the data directory can be copied")]
    }
    let files = try facts.sourceFiles.get()
    let user = facts.migration.source.postgres.osUser
    let directory = try facts.source.installation.get().dataDirectory
    var findings: [Finding] = []
    if let path = files.unreadable.first {
      findings.append(
        Finding(
          .error, "preflight.unreadable-file", host: host, object: "\(directory)/\(path)",
          "\(user) cannot read in \(directory): " + shortList(files.unreadable) + (files.isCut ? ", and others" : ""),
          consequence: "the base backup reads every file there, and would break off",
          remedy: "chown \(user) \(directory)/\(path), or move it out of the data directory"))
    }
    for link in files.links {
      let path = "\(directory)/\(link.path)"
      if isData(link.path) {
        findings.append(
          Finding(
            .error, "preflight.linked-data", host: host, object: path,
            "\(path) is a symbolic link to \(link.destination)",
            consequence: "a base backup leaves it out without an error: the copy would lack that data",
            remedy: "use a tablespace, or put the data back into its place while the server is stopped"))
      } else if isConfiguration(link.path), facts.directory.value?.data.isFilled == false {
        findings.append(
          Finding(
            .error, "preflight.linked-data", host: host, object: path,
            "\(path) is a symbolic link to \(link.destination)",
            consequence: "a base backup leaves it out, and the target has no \(link.path) of its own",
            remedy: "make a cluster with its configuration on the target before (initdb), or replace the link by a file"
          ))
      } else if !isConfiguration(link.path) {
        findings.append(
          Finding(
            .warning, "preflight.linked-file", host: host, object: path,
            "\(path) is a symbolic link to \(link.destination)",
            consequence: "a base backup leaves it out: the copy will not have it",
            remedy: "make it on the target after the migration where it is needed"))
      }
    }
    return findings
  }

  @Sendable static func target(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.target)
    if let error = facts.keptFiles.error {
      return [
        Finding(error, host: host, consequence: "nobody knows whether the copy can keep the target's configuration")
      ]
    }
    guard let files = try facts.keptFiles.get() else { return [] }
    let directory = try facts.target.installation.get().dataDirectory
    let user = facts.migration.target.postgres.osUser
    guard let path = files.unreadable.first else { return [] }
    return [
      Finding(
        .error, "preflight.unreadable-file", host: host, object: "\(directory)/\(path)",
        "\(user) cannot read in \(directory): " + shortList(files.unreadable),
        consequence: "the copy keeps the target's configuration, and could not",
        remedy: "chown \(user) \(directory)/\(path)")
    ]
  }

  private static func isData(_ path: String) -> Bool {
    let first = String(path.prefix { $0 != "/" })
    return [
      "base", "global", "PG_VERSION", "pg_xact", "pg_multixact", "pg_commit_ts", "pg_logical", "pg_twophase",
      "pg_tblspc",
    ].contains(first)
  }

  private static func isConfiguration(_ path: String) -> Bool { !path.contains("/") && path.hasSuffix(".conf") }
}
