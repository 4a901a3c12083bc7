/// What turns the source's WAL into the records of a stream.
public enum OutputPlugin: String, Sendable, CaseIterable {
  /// Text that anybody can read; every table is in it, whether or not its updates name their rows.
  case testDecoding = "test_decoding"
  /// PostgreSQL's own: about half the bytes, by a publication of all tables.
  case pgoutput

  /// As `server_version_num`: from here on pgoutput has the option `messages`, which markers need.
  public static let pgoutputSince = 140000

  /// The options of `START_REPLICATION`, and of the functions that read a slot by SQL. Unknown ones are errors.
  ///
  /// `skip-empty-xacts` stays off: on, a BEGIN says nothing of its place, and on 15 a message can come without its
  /// BEGIN and COMMIT.
  public func options(publication: String) -> [(name: String, value: String)] {
    switch self {
    case .testDecoding: [("include-xids", "on"), ("include-timestamp", "on"), ("skip-empty-xacts", "off")]
    case .pgoutput:
      [("proto_version", "1"), ("publication_names", quotedIdentifier(publication)), ("messages", "true")]
    }
  }
}
