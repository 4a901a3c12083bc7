public import PostgresClient
public import ReplicationModel

/// Everything that one database's worker needs to know. The facts come from the hand-off's record; progress does not:
/// the worker asks the target's replication origin.
///
/// It reads `from` one server and writes `to` the other: on the way back, from the migration's target to its source.
public struct WorkerAssignment: Sendable {
  public var migration: String
  public var database: String
  /// The database's oid where it is read, when the slot was made: DROP DATABASE drops its slots silently.
  public var databaseOID: UInt32
  public var direction: StreamDirection
  /// Where the slot is.
  public var from: ConnectionParameters
  /// Where the origin is.
  public var to: ConnectionParameters
  public var slot: String
  /// Of all tables; where the slot's plugin needs one.
  public var publication: String
  public var origin: String
  /// The table of statements on the server that is read, where DDL is carried over.
  public var statements: RelationName?
  public var handOff: LSN
  /// Both servers have the same one: the target is a physical copy.
  public var systemIdentifier: String
  public var fromTimeline: Int
  public var toTimeline: Int

  /// - Parameter publication: nil for one with the name of the slot.
  public init(
    migration: String, database: String, databaseOID: UInt32, direction: StreamDirection = .forward,
    from: ConnectionParameters, to: ConnectionParameters, slot: String, publication: String? = nil,
    origin: String, statements: RelationName? = nil, handOff: LSN, systemIdentifier: String, fromTimeline: Int,
    toTimeline: Int
  ) {
    self.migration = migration
    self.database = database
    self.databaseOID = databaseOID
    self.direction = direction
    self.from = from
    self.to = to
    self.slot = slot
    self.publication = publication ?? slot
    self.origin = origin
    self.statements = statements
    self.handOff = handOff
    self.systemIdentifier = systemIdentifier
    self.fromTimeline = fromTimeline
    self.toTimeline = toTimeline
  }

  /// What a person calls the server that is read, and the one that is written to.
  var fromName: String { direction == .forward ? "source" : "target" }
  var toName: String { direction == .forward ? "target" : "source" }

  var place: ConvoyError.Place { .database(migration: migration, name: database) }
}
