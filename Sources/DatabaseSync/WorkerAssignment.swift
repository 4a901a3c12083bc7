public import PostgresClient
public import ReplicationModel

/// Everything that one database's worker needs to know. The facts come from the hand-off's record; progress does not:
/// the worker asks the target's replication origin.
///
/// To a worker the source is where it reads and the target where it writes: on the way back, the migration's target and
/// source.
public struct WorkerAssignment: Sendable {
  public var migration: String
  public var database: String
  /// The database's oid on the source when the slot was made: DROP DATABASE drops its slots silently.
  public var databaseOID: UInt32
  public var direction: StreamDirection
  public var source: ConnectionParameters
  public var target: ConnectionParameters
  public var slot: String
  /// Of all tables; where the slot's plugin needs one.
  public var publication: String
  public var origin: String
  /// The source's table of statements, where DDL is carried over.
  public var statements: RelationName?
  public var handOff: LSN
  /// Both servers have the same one: the target is a physical copy.
  public var systemIdentifier: String
  public var sourceTimeline: Int
  public var targetTimeline: Int

  /// - Parameter publication: nil for one with the name of the slot.
  public init(
    migration: String, database: String, databaseOID: UInt32, direction: StreamDirection = .forward,
    source: ConnectionParameters, target: ConnectionParameters, slot: String, publication: String? = nil,
    origin: String, statements: RelationName? = nil, handOff: LSN, systemIdentifier: String, sourceTimeline: Int,
    targetTimeline: Int
  ) {
    self.migration = migration
    self.database = database
    self.databaseOID = databaseOID
    self.direction = direction
    self.source = source
    self.target = target
    self.slot = slot
    self.publication = publication ?? slot
    self.origin = origin
    self.statements = statements
    self.handOff = handOff
    self.systemIdentifier = systemIdentifier
    self.sourceTimeline = sourceTimeline
    self.targetTimeline = targetTimeline
  }

  /// What a person calls the server that is read, and the one that is written to.
  var from: String { direction == .forward ? "source" : "target" }
  var to: String { direction == .forward ? "target" : "source" }

  var place: ConvoyError.Place { .database(migration: migration, name: database) }
}
