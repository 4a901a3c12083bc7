extension OutputPlugin {
  /// Text that anybody can read; every table is in it, whether or not its updates name their rows.
  ///
  /// `skip-empty-xacts` stays off: on, a BEGIN says nothing of its place, and on 15 a message can come without its
  /// BEGIN and COMMIT.
  public static let testDecoding = OutputPlugin(
    "test_decoding", since: 90600, needsPublication: false,
    options: { _ in [("include-xids", "on"), ("include-timestamp", "on"), ("skip-empty-xacts", "off")] },
    parser: { TestDecodingParser() })
}
