/// What a table's updates and deletes say about the row that they hit.
/// <https://www.postgresql.org/docs/15/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY>
public enum ReplicaIdentity: Sendable, Equatable {
  /// Neither a usable primary key nor another identity: only inserts can be replicated.
  case nothing
  /// The columns of the primary key or of the index that was named, in index order.
  case key([String])
  /// The whole old row.
  case full
}
