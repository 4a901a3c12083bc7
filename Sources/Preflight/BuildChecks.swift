import Inventory
package import MigrationCore

/// What the two servers were built and made with, where a copy brings the source's along.
package enum BuildChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("source.postgres-version", "the source's version can be migrated", version),
    PreflightCheck("hosts.block-size", "the target's programs read the source's blocks", blockSize),
    PreflightCheck("hosts.wal-segments", "the target's settings fit the source's WAL segments", walSegments),
    PreflightCheck("hosts.checksums", "the copy has checksums where the target has them now", checksums),
    PreflightCheck("target.libraries", "the target has the libraries of the source's functions", libraries),
    PreflightCheck("target.extensions", "the target has the source's extensions", extensions),
  ]

  /// Fixed when PostgreSQL was built; a data directory starts only where they are the same.
  static let builtIn = ["block_size", "wal_block_size", "segment_size"]

  @Sendable package static func version(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let version = try facts.source.role.get().serverVersion
    guard version < 120000 else { return [] }
    return [
      Finding(
        .error, "preflight.old-version", host: facts.name(.source),
        "the source runs PostgreSQL \(version < 100000 ? "9" : String(version / 10000))",
        consequence: version < 110000
          ? "its stream has no TRUNCATE, and no standby.signal tells a copy of it to follow the source"
          : "no standby.signal tells a copy of it to follow the source",
        remedy: "update the source to PostgreSQL 12 or later first")
    ]
  }

  @Sendable static func blockSize(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.server.get()
    let target = try facts.target.server.get()
    return builtIn.compactMap { name in
      guard let theirs = source.settings[name], let ours = target.settings[name], theirs != ours else { return nil }
      return Finding(
        .error, "preflight.block-size", host: facts.name(.target), object: name,
        "\(name) is \(theirs) on the source, \(ours) on the target",
        consequence: "the target's programs would not start the copy",
        remedy: "install a PostgreSQL on \(facts.name(.target)) that was built like the source's")
    }
  }

  /// In megabytes; PostgreSQL does not start where one of them is less than two segments.
  static let walSizes = ["min_wal_size", "max_wal_size"]

  /// A copy has the segments of its source, and the settings of the target.
  @Sendable static func walSegments(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    guard let bytes = try facts.source.server.get().integer("wal_segment_size") else { return [] }
    let target = try facts.target.server.get()
    let least = 2 * (bytes >> 20)
    return walSizes.compactMap { name in
      guard let size = target.integer(name), size < least else { return nil }
      return Finding(
        .error, "preflight.wal-segments", host: facts.name(.target), object: name,
        "\(name) is \(size) MB on the target, and the source's WAL segments are \(bytes >> 20) MB",
        consequence: "the target does not start on the copy: it wants two segments at least",
        remedy: "ALTER SYSTEM SET \(name) = '\(least)MB' on the target, before its data is replaced")
    }
  }

  @Sendable static func checksums(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.server.get()
    let target = try facts.target.server.get()
    guard source.settings["data_checksums"] == "off", target.settings["data_checksums"] == "on" else { return [] }
    return [
      Finding(
        .warning, "preflight.checksums", host: facts.name(.target), object: "data_checksums",
        "the target has data checksums, the source has none",
        consequence: "the copy has none either: damage to its pages goes unnoticed",
        remedy: "after the migration, while the server is stopped: pg_checksums --enable")
    ]
  }

  @Sendable package static func libraries(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.target)
    if let error = facts.libraries.error {
      return [Finding(error, host: host, consequence: "nobody knows whether the copy's functions can be called")]
    }
    let found = try facts.libraries.get()
    return try missing(facts, found.missingLibraries, \.libraries).map { name, databases in
      Finding(
        .error, "preflight.library", host: host, object: name,
        "\(found.directory) lacks \(name), used in: \(shortList(databases))",
        consequence: "functions, types and indexes of it fail on the copy, and rows that need them park the database",
        remedy: "install the package that it is part of on \(host)")
    }
  }

  @Sendable static func extensions(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let found = try facts.libraries.get()
    return try missing(facts, found.missingExtensions, \.extensions).map { name, databases in
      Finding(
        .warning, "preflight.extension", host: facts.name(.target), object: name,
        "extension \(name) is not installed, used in: \(shortList(databases))",
        consequence: "it can be neither updated nor dumped and restored there",
        remedy: "install the package that it is part of on \(facts.name(.target))")
    }
  }

  /// By name, with the databases that use it.
  private static func missing(
    _ facts: PreflightFacts, _ names: Set<String>, _ used: (DatabaseFacts) -> [String]
  ) throws(CheckNotMade) -> [(String, [String])] {
    names.sorted().map { name in
      (name, facts.databases.filter { $0.facts.value.map(used)?.contains(name) == true }.map(\.name))
    }
  }
}
