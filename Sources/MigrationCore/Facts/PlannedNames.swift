import Journal
package import ReplicationModel

extension MigrationContext {
  /// The names of the hand-off in hand; before there is one, names that say where the nonce will stand.
  package func plannedNames() async throws -> HandOffNames {
    try await record()?.handOff?.names ?? HandOffNames(nonce: "NONCE")
  }
}
