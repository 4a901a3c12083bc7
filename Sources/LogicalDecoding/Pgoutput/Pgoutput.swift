import ReplicationModel

extension OutputPlugin {
  /// PostgreSQL's own: about half the bytes, by a publication of all tables. The option `messages` came with 14.
  public static let pgoutput = OutputPlugin(
    "pgoutput", since: 140000, needsPublication: true,
    options: { publication in
      [("proto_version", "1"), ("publication_names", quotedIdentifier(publication)), ("messages", "true")]
    },
    parser: { PgoutputParser() })
}
