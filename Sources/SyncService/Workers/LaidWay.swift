import HostAdmin
import Inventory
import Journal
package import MigrationCore
package import ReplicationModel

/// The streams that a cutover lays against its own direction, when that cutover is called off.
package struct LaidWay: Sendable {
  let context: MigrationContext
  /// Of the cutover.
  let direction: StreamDirection

  package init(_ context: MigrationContext, of direction: StreamDirection) {
    self.context = context
    self.direction = direction
  }

  /// Nil where the cutover is over, or nothing has been laid yet.
  package func undoing(at place: ConvoyError.Place) async throws -> Undoing? {
    guard try await !context.isOver(direction), let record = try await context.record()?.handOff else { return nil }
    let way = Way(context: context, record: record, direction: direction.opposite)
    let deeds: [Deed] = [
      // The side that was to be opened may be what broke. Its slots are not read then, and that nobody holds the origins on
      // the side that goes on serving says that nothing more will be applied there.
      .act(nil, "stop the sync workers of migration \(context.migrationName)") { _ in
        try await stopWorkers(context, record, way.direction, at: place, mayBeDown: true)
      },
      .holdingOn("taking the way away") { try await way.droppingOrigins() },
      // The slots for the way back were there before, and are kept advanced; those for the way forward were not.
      droppingSlots(way),
      .aside { _ in
        try await context.updateHandOff { record in if way.direction == .reverse { record.reverseLSN = nil } }
      },
    ]
    return Undoing("took the way \(way.direction == .reverse ? "back" : "forward") away again", deeds)
  }

  /// Before the first writer comes in again: what a run that was killed has left of the way, and the workers that it had
  /// turned round already.
  package func takingAway(at place: ConvoyError.Place) -> Deed {
    .later {
      guard let record = try await context.record(), let handOff = record.handOff else { return [] }
      if record.desiredSync != DesiredSync(direction) {
        return (try await undoing(at: place)?.deeds ?? []) + [
          .act(nil, "let the sync workers of migration \(context.migrationName) run") { _ in
            try await runWorkers(context, direction)
          }
        ]
      }
      guard direction == .reverse else { return [] }
      return [droppingSlots(Way(context: context, record: handOff, direction: .forward))]
    }
  }

  /// Those of the way forward. Unless their server is out of reach: the next rollback uses them again, and `finish` would
  /// remove them.
  private func droppingSlots(_ way: Way) -> Deed {
    guard way.direction == .forward else { return .together([], atMost: 1) }
    let host = context.host(way.direction.from).name
    return .act(way.direction.from, "drop the slots of the way forward") { _ in
      do {
        try await DeedPerformer(context, step: "open_way_forward", isUndo: true).perform(way.droppingSlots())
      } catch  where saysThatAConnectionBroke(error) {
        context.progress("\(host) cannot be reached: the slots for the way forward stay there")
      }
    }
  }
}
