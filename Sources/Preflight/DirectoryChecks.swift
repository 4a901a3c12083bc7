import HostAdmin
import Inventory
package import MigrationCore

/// Where the copy goes: the target's directories and the room on them.
package enum DirectoryChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("target.data-directory", "the target's data directory can be moved aside", dataDirectory),
    PreflightCheck("target.leftovers", "nothing of another migration lies beside it", leftovers),
    PreflightCheck("target.tablespaces", "each tablespace has a place of its own on the target", tablespaces),
    PreflightCheck("target.wal-directory", "base_backup.wal_directory can be made", walDirectory),
    PreflightCheck("target.space", "the copy fits, with a tenth to spare", space),
  ]

  @Sendable package static func dataDirectory(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.target)
    if let error = facts.directory.error {
      return [Finding(error, host: host, consequence: "nobody knows whether the copy can be put in place")]
    }
    let (data, parent) = (try facts.directory.get().data, try facts.directory.get().parent)
    let user = facts.migration.target.postgres.osUser
    var findings: [Finding] = []
    if data.isMountPoint {
      findings.append(
        Finding(
          .error, "preflight.mount-point", host: host, object: data.path, "\(data.path) is a mount point",
          consequence: "it can be neither renamed nor replaced by the copy",
          remedy: "mount the file system one level higher, and set postgres.data_directory to a directory in it"))
    }
    if data.kind == .other {
      findings.append(
        Finding(
          .error, "preflight.not-a-directory", host: host, object: data.path, "\(data.path) is not a directory",
          consequence: "the copy cannot be put in its place", remedy: "correct postgres.data_directory of \(host)"))
    }
    if data.kind == .link {
      let replaces = facts.migration.oldData == .replace
      findings.append(
        Finding(
          replaces ? .error : .warning, "preflight.linked-directory", host: host, object: data.path,
          "\(data.path) is a symbolic link",
          consequence: "the copy goes to the link's own place, \(parent.path), not to where it leads"
            + (replaces ? ", and old_data: replace would remove the link alone" : ""),
          remedy: "set postgres.data_directory to the directory itself"))
    }
    if !parent.ancestorIsWritable {
      findings.append(
        Finding(
          .error, "preflight.parent-not-writable", host: host, object: parent.ancestor,
          "\(user) cannot write to \(parent.ancestor)",
          consequence: "the copy grows beside the data directory, and could not be made",
          remedy: "chown \(user) \(parent.ancestor)"))
    }
    return findings
  }

  @Sendable static func leftovers(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let paths = try facts.target.machine.get().leftovers
    guard !paths.isEmpty else { return [] }
    return [
      Finding(
        .warning, "preflight.leftovers", host: facts.name(.target), object: paths[0],
        "left by an earlier run or another migration: " + shortList(paths),
        consequence:
          "the base backup goes on with a copy of its own and removes an unfinished one; the rest takes up room",
        remedy: "remove what belongs to no migration in hand, on that host")
    ]
  }

  @Sendable package static func tablespaces(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.target)
    if facts.hasCopy.value == true { return [] }
    if let error = facts.tablespaces.error {
      return [Finding(error, host: host, consequence: "nobody knows whether the tablespaces have a place")]
    }
    let places = try facts.tablespaces.get()
    var findings: [Finding] = []
    for place in places {
      let path = place.destination
      var obstacle: String?
      if let place = goesAside(path, facts) {
        obstacle = "\(path.path) lies in \(place)"
      } else if path.isFilled {
        obstacle = "\(path.path) is not empty"
      } else if path.kind == .other {
        obstacle = "\(path.path) is not a directory"
      } else if !path.ancestorIsWritable {
        obstacle = "\(facts.migration.target.postgres.osUser) cannot write to \(path.ancestor)"
      }
      guard let obstacle else { continue }
      findings.append(
        Finding(
          .error, "preflight.tablespace", host: host, object: place.name,
          "no place for tablespace \(place.name): \(obstacle)", consequence: "the base backup would fail",
          remedy: place.isMapped
            ? "give base_backup.tablespace_mapping an empty directory for \(place.location)"
            : "base_backup: { tablespace_mapping: { \(place.location): EMPTY_DIRECTORY_ON_THE_TARGET } }"))
    }
    var seen: [String: String] = [:]
    for place in places {
      if let other = seen.updateValue(place.name, forKey: place.destination.path) {
        findings.append(
          Finding(
            .error, "preflight.tablespace", host: host, object: place.name,
            "tablespaces \(other) and \(place.name) go to one directory, \(place.destination.path)",
            consequence: "the base backup would fail", remedy: "map each to a directory of its own"))
      }
    }
    for old in facts.migration.baseBackup.tablespaceMapping.keys.sorted()
    where !places.contains(where: { $0.location == old }) {
      findings.append(
        Finding(
          .warning, "preflight.tablespace-mapping", host: facts.name(.source), object: old,
          "base_backup.tablespace_mapping names \(old), where the source has no tablespace",
          consequence: "the entry does nothing", remedy: "compare with \\db on the source"))
    }
    return findings
  }

  @Sendable package static func walDirectory(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.target)
    if facts.hasCopy.value == true { return [] }
    if let error = facts.walDirectory.error {
      return [Finding(error, host: host, consequence: "nobody knows whether the WAL has a place")]
    }
    guard let path = try facts.walDirectory.get() else { return [] }
    var obstacle: String?
    if let place = goesAside(path, facts) {
      obstacle = "lies in \(place)"
    } else if path.isFilled {
      obstacle = "is not empty"
    } else if path.kind == .other {
      obstacle = "is not a directory"
    } else if !path.ancestorIsWritable {
      obstacle = "cannot be made: \(facts.migration.target.postgres.osUser) cannot write to \(path.ancestor)"
    }
    guard let obstacle else { return [] }
    return [
      Finding(
        .error, "preflight.wal-directory", host: host, object: path.path,
        "base_backup.wal_directory \(path.path) \(obstacle)", consequence: "the base backup would fail",
        remedy: "name an empty directory, or one that can be made")
    ]
  }

  /// The directory of the target's that is renamed or filled by the copy, where a place lies in it: it would go along.
  private static func goesAside(_ place: PathFacts, _ facts: PreflightFacts) -> String? {
    guard let directory = facts.directory.value else { return nil }
    if place.isWithin(directory.data) { return "the target's data directory, which is moved aside" }
    let ours = directory.data.path + ".pgconvoy-"
    return place.path.hasPrefix(ours) ? "a directory of pgconvoy's own" : nil
  }

  /// By file system: the data directory's, and those that tablespaces and WAL go to.
  @Sendable static func space(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.target)
    if facts.hasCopy.value == true { return [] }
    if let error = facts.taken.error {
      return [Finding(error, host: host, consequence: "nobody knows how much room the old data takes up")]
    }
    let room = CopyRoom(
      try facts.cluster.get().size, directory: try facts.directory.get(), wal: try facts.walDirectory.get(),
      tablespaces: try facts.tablespaces.get(), taken: try facts.taken.get())
    let lacks = room.shortfalls(withoutOldData: false)
    let replaces = facts.migration.oldData == .replace
    let stillLacks = replaces ? room.shortfalls(withoutOldData: true) : lacks
    if let lack = lacks.first, stillLacks.isEmpty {
      return [
        Finding(
          .warning, "preflight.old-data-first", host: host, object: lack.place.ancestor, lack.words,
          consequence: "the old data is removed before the copy is made: should that fail, "
            + "the target has no server to go back to",
          remedy: "make room for both on that file system, or accept it")
      ]
    }
    return stillLacks.map { lack in
      Finding(
        .error, "preflight.disk-space", host: host, object: lack.place.ancestor,
        lack.words + (replaces ? ", the old data not counted" : ""),
        consequence: "the base backup would fill the file system",
        remedy: "make room on that file system, or spread the copy with base_backup.tablespace_mapping"
          + (replaces ? "" : "; or give up the target's old data with old_data: replace"))
    }
  }
}
