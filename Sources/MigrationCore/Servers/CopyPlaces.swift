package import HostAdmin
import Inventory
import PostgresClient
import RemoteHost
import ReplicationModel

/// The target's data directory and the one above it, in which the copy grows.
package struct TargetDirectory: Sendable, Equatable {
  package var data: PathFacts
  package var parent: PathFacts
}

/// A tablespace of the source and where it goes.
package struct TablespacePlace: Sendable, Equatable {
  package var name: String
  package var location: String
  package var bytes: UInt64
  package var destination: PathFacts
  package var isMapped: Bool
}

/// Looks at the places that a copy goes to on the target: its data directory, tablespaces, WAL, and what is free there.
/// Only looks; every question has a deadline.
package struct CopyPlaces: Sendable {
  package let context: MigrationContext
  /// The target's.
  package let control: Reading<ServerControl>

  package init(context: MigrationContext, control: Reading<ServerControl>) {
    self.context = context
    self.control = control
  }

  private static let deadline = Duration.seconds(30)

  /// The data directory and the one above it.
  package func directory() async -> Reading<TargetDirectory> {
    await context.reading(.target) {
      let control = try control.get()
      let data = control.dataDirectory
      let parent = data.split(separator: "/").dropLast().reduce(into: "") { $0 += "/" + $1 }
      let found = try await control.facts(ofPaths: [data, parent.isEmpty ? "/" : parent], within: Self.deadline)
      return TargetDirectory(data: found[0], parent: found[1])
    }
  }

  /// Where the source's tablespaces go; those inside its data directory have no place of their own.
  package func tablespaces(_ wanted: Reading<[SourceSize.Tablespace]>) async -> Reading<[TablespacePlace]> {
    await context.reading(.target) {
      let control = try control.get()
      let tablespaces = try wanted.get().filter { !$0.location.isEmpty }
      guard !tablespaces.isEmpty else { return [] }
      let mapping = context.migration.baseBackup.tablespaceMapping
      let found = try await ownPlaces(tablespaces.map { mapping[$0.location] ?? $0.location }, control)
      return zip(tablespaces, found).map { tablespace, path in
        TablespacePlace(
          name: tablespace.name, location: tablespace.location, bytes: tablespace.bytes, destination: path,
          isMapped: mapping[tablespace.location] != nil)
      }
    }
  }

  /// Where WAL goes; nil: into the data directory.
  package func walDirectory() async -> Reading<PathFacts?> {
    await context.reading(.target) {
      let control = try control.get()
      guard let path = context.migration.baseBackup.walDirectory else { return nil }
      return try await ownPlaces([path], control)[0]
    }
  }

  /// What an earlier attempt's copy has filled is cleared before the next one.
  private func ownPlaces(_ wanted: [String], _ control: ServerControl) async throws -> [PathFacts] {
    let own = Set(try await context.copyPlaces())
    let hasCopy = try await control.exists(control.copyDirectory)
    return try await control.facts(ofPaths: wanted, within: Self.deadline).map { facts in
      var facts = facts
      if hasCopy, own.contains(facts.path) { facts.isFilled = false }
      return facts
    }
  }

  /// What becomes free before the copy is made.
  package func taken() async -> Reading<TakenRoom> {
    await context.reading(.target) {
      let control = try control.get()
      var paths = [control.dataDirectory, control.copyDirectory]
      if try await !context.hasWholeCopy() { paths += try await context.copyPlaces() }
      var command = control.shell(
        """
        for p in "$@"; do
          if [ -d "$p" ]; then printf '%s\t%s\t%s\n' "$(stat -L -c %d -- "$p")" "$(du -skx -- "$p/" | cut -f 1)" "$p"; fi
        done
        """, context.migration.oldData == .replace ? paths : Array(paths.dropFirst()), environment: ["LC_ALL": "C"],
        deadline: .seconds(300))
      command.label = "measuring what goes before the copy is made"
      var taken = TakenRoom()
      for line in try await control.remote.runChecked(command.asking).text.split(separator: "\n") {
        let fields = line.split(separator: "\t", maxSplits: 2)
        guard fields.count == 3, let kilobytes = UInt64(fields[1]) else { continue }
        if fields[2] == control.dataDirectory {
          taken.oldBytes = kilobytes << 10
        } else {
          taken.copyBytes[String(fields[0]), default: 0] += kilobytes << 10
        }
      }
      return taken
    }
  }

  /// What the copy needs, and what is free for it.
  ///
  /// - Throws: `base-backup.unknown-room`.
  package func room() async throws -> CopyRoom {
    let source = await sourceSize()
    do throws(CheckNotMade) {
      return CopyRoom(
        try source.get(), directory: try await directory().get(), wal: try await walDirectory().get(),
        tablespaces: try await tablespaces(source.map(\.tablespaces)).get(), taken: try await taken().get())
    } catch {
      throw ConvoyError(
        "base-backup.unknown-room", "how much room the copy needs is not known: \(error.reason)",
        at: context.place("base_backup", .target))
    }
  }

  /// Directories outside its own that the copy will fill.
  ///
  /// - Throws: `base-backup.unknown-places`.
  package func beside() async throws -> [PathFacts] {
    let source = await sourceSize()
    do throws(CheckNotMade) {
      let tablespaces = try await tablespaces(source.map(\.tablespaces)).get().map(\.destination)
      return try await tablespaces + [walDirectory().get()].compactMap(\.self)
    } catch {
      throw ConvoyError(
        "base-backup.unknown-places", "where tablespaces and WAL go is not known: \(error.reason)",
        at: context.place("base_backup", .target))
    }
  }

  /// For a step that has to know what preflight found.
  private func sourceSize() async -> Reading<SourceSize> {
    await context.reading(.source) {
      let session = try await context.session(.source)
      let row = try await session.query(
        "SELECT rolname, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user", within: Self.deadline
      ).rows.first
      guard row?.bool(1) == true else {
        throw CheckNotMade(
          reason: "role \(row?.string(0) ?? "") on \(context.host(.source).name) is not a superuser")
      }
      return try await SourceSize.read(session, within: Self.deadline)
    }
  }
}
