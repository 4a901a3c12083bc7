package import Inventory

/// What keeps the servers' records of a migration in step with its journal, as far as steps and deeds have to know it.
package protocol RecordKeeper: Actor {
  /// Brings what the journal has more to the servers.
  ///
  /// - Throws: `truth.superseded` when a server has moved on by somebody else's hand.
  func publish() async throws

  /// Makes sure that this run may still act, and that the servers know what it knows.
  ///
  /// - Throws: `truth.superseded`.
  func beforeDeed() async throws

  /// A side's server is about to be stopped or started: sessions there end.
  func forget(_ side: Side) async

  func close() async
}
