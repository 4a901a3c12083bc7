package import HostAdmin
import Inventory
import RemoteHost
package import ReplicationModel

/// The old data directory of a target, which a copy has taken the place of, on its way back.
package struct DirectorySwap: Sendable {
  let context: MigrationContext
  let target: ServerControl
  let names: HandOffNames

  package init(_ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames) {
    self.context = context
    self.target = target
    self.names = names
  }

  /// Puts the old data directory into its place again, and starts its server where it ran. Safe to repeat: killed anywhere
  /// in it, the next one goes on.
  package func takingBack() async throws -> [Deed] {
    let old = target.oldDirectory(names)
    let oldData = OldCluster(context: context, target: target)
    var deeds: [Deed] = []
    if try await target.exists(old) {
      deeds.append(.say("putting the old data directory back"))
      if try await target.isRunning() { deeds.append(.server(.target, .stop)) }
      deeds += [
        .aside { _ in try await context.setState(.copying) },
        .command(.target, swap(old)),
      ]
    }
    // Of the old data, or of the copy that has run in its place with the same configuration: known by now, whatever
    // becomes of the server then.
    deeds += try await Self.liftingOutsideFence(target)
    guard try await context.fact(.targetWasRunning) ?? false else { return deeds }
    let isBack = try await !target.exists(old)
    var starts = try await oldData.isWhole(isBack ? target.dataDirectory : old)
    if isBack, try await target.isRunning() { starts = false }
    let announced: [Deed] = starts ? [.server(.target, .start)] : []
    return deeds + [
      .later(announced: { announced }) { _ in
        try await oldData.isWhole(target.dataDirectory) ? [.server(.target, .start)] : []
      }
    ]
  }

  private func swap(_ old: String) -> RemoteCommand {
    target.command(
      """
      if [ -e "$1" ]; then mv -T -- "$1" "$2"; fi
      if rmdir -- "$3" 2>/dev/null; then :; else mv -T -- "$3" "$1"; fi
      """, [target.dataDirectory, target.copyDirectory, old], label: "putting the old data directory back")
  }

  /// A pg_hba.conf outside the data directory is fenced before the directories are swapped, and is the old server's too.
  package static func liftingOutsideFence(_ target: ServerControl) async throws -> [Deed] {
    guard let files = try await ConfigurationFiles.find(target), files.hba.hasPrefix("/"),
      try await HBAFile(server: target, path: files.hba).read().isFenced
    else { return [] }
    return [.edit(.target, files.hba) { HostBasedAuthentication($0).unfenced.text }]
  }
}
