/// What to do about DDL on the source while it is in the stream.
public enum DDLMode: String, Sendable, CaseIterable {
  /// A drift of the catalogs parks that database before the row that would fail.
  case report
  /// DDL is refused on the source.
  case freeze
  /// Single allow-listed statements are carried over.
  case replicate
}
