package import HostAdmin
import Inventory
import Presentation
package import RemoteHost
package import ReplicationModel

/// What becomes of the target's old data under `old_data: replace`.
///
/// It is removed when the copy runs in its place; only where there is no room for both it goes first, and then the
/// target's own configuration is kept in its place.
package struct OldCluster {
  package let context: MigrationContext
  package let target: ServerControl

  package init(context: MigrationContext, target: ServerControl) {
    self.context = context
    self.target = target
  }

  /// Without it a directory is no cluster any more. A removal begins with it, so that one that was interrupted is not
  /// taken for data.
  static let heart = "global/pg_control"

  /// Whether there is a whole cluster in a directory of the target.
  package func isWhole(_ directory: String) async throws -> Bool {
    try await target.exists("\(directory)/\(Self.heart)")
  }

  /// Starts the target's own server where it ran before its copy was made, and its data is in its place.
  package func startAgain() async throws {
    guard try await context.fact(.targetWasRunning) ?? false,
      try await isWhole(target.dataDirectory)
    else { return }
    try await target.start()
  }

  /// Whether the directory that the copy has taken the place of is gone, or what a removal that was cut off has left.
  package func isRemoved(_ names: HandOffNames) async throws -> Bool {
    let old = target.oldDirectory(names)
    guard try await target.exists(old) else { return true }
    // A target without a cluster of its own had an empty directory, which is as good as gone.
    return context.migration.oldData == .replace ? try await !isWhole(old) : false
  }

  /// Where the configuration lies while the rest is removed.
  private var kept: String { target.dataDirectory + ".pgconvoy-kept" }
  /// The rest, while it is removed.
  private var going: String { target.dataDirectory + ".pgconvoy-going" }

  /// Whether the target's own server runs, or did so when an earlier run stopped it to make room.
  package func ranBefore() async throws -> Bool {
    if try await target.isRunning() { return true }
    guard context.migration.oldData == .replace, try await context.state() == .copying else { return false }
    return try await context.fact(.targetWasRunning) ?? false
  }

  /// What frees the room for the copy, in order; nothing where it has room, or where the old data stays.
  ///
  /// - Throws: `base-backup.no-room` when there would be none even then.
  package func makingRoom() async throws -> [Deed] {
    guard context.migration.oldData == .replace else { return [] }
    // An earlier run may have been killed halfway through.
    var isBegun = try await target.exists(kept)
    if !isBegun { isBegun = try await target.exists(going) }
    let isDue = try await isWhole(target.dataDirectory) ? await goesFirst() : isBegun
    guard isDue else { return [] }
    var files = try await ConfigurationFiles.find(target)?.inside ?? []
    for name in ["PG_VERSION", "postgresql.auto.conf", ServerControl.keptSettings]
    where try await target.exists("\(target.dataDirectory)/\(name)") {
      files.append(name)
    }
    let isRunning = try await target.isRunning()
    let stopping: [Deed] = [.say("no room for both: stopping the target's old server"), .server(.target, .stop)]
    return (isRunning ? stopping : []) + [
      .say("removing the target's old data"),
      .command(
        .target,
        target.command(
          Self.emptying, [target.dataDirectory, kept, going, Self.heart] + files,
          label: "removing the target's old data", deadline: .seconds(86_400))),
    ]
  }

  /// Killed anywhere it goes on when it is run again; until both renames are over the configuration is in one of the two.
  private static let emptying = """
    set -e; data=$1; kept=$2; going=$3; heart=$4; shift 4
    if [ -e "$data/$heart" ]; then
      rm -rf -- "$kept" "$going"; mkdir -m 700 -- "$kept"
      cd -- "$data"; for f in "$@"; do cp -a --parents -- "$f" "$kept" || { rm -rf -- "$kept"; exit 1; }; done; cd /
      rm -f -- "$data/$heart"
    fi
    if [ -d "$kept" ]; then
      if [ -e "$data" ]; then mv -T -- "$data" "$going"; fi
      mv -T -- "$kept" "$data"
    fi
    rm -rf -- "$going"
    """

  private func goesFirst() async throws -> Bool {
    let room = try await CopyPlaces(context: context, control: .value(target)).room()
    if room.shortfalls(withoutOldData: false).isEmpty { return false }
    guard let lack = room.shortfalls(withoutOldData: true).first else { return true }
    throw ConvoyError(
      "base-backup.no-room", "\(lack.words), also without the old data", at: context.place("base_backup", .target),
      hint: "nothing was removed; make room on that file system")
  }

  /// Of an old data directory in whose place the copy runs.
  package func removal(of directory: String) -> RemoteCommand {
    target.command(
      "rm -f -- \"$1/$2\" && rm -rf -- \"$1\"", [directory, Self.heart], label: "removing the old data directory",
      deadline: .seconds(86_400))
  }

  /// An error of a step that has no old server to go back to says so.
  package func explained(_ error: any Error) async -> any Error {
    guard context.migration.oldData == .replace, var error = error as? ConvoyError,
      (try? await isWhole(target.dataDirectory)) == false
    else { return error }
    error.hint =
      "the target's old data is gone (old_data: replace), its configuration is kept in \(target.dataDirectory); "
      + "run the playbook again" + (error.hint.map { "; \($0)" } ?? "")
    return error
  }
}
