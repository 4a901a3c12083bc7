/// What turns the source's WAL into the records of a stream, and all that pgconvoy has to know of it.
///
/// Nothing else compares plugins: whatever is different with one of them is asked of the value. A new plugin is a folder
/// with its parser and its value, and a line in `OutputPlugin.allCases`. (`ChangeApplier.apply` is the same for any parser,
/// and faster where its parser has a line of specialization there.)
public struct OutputPlugin: Sendable {
  /// As the server knows it, and the inventory.
  public let name: String
  /// As `server_version_num`: from here on it carries logical messages, which markers are.
  public let since: Int
  /// Whether it reads tables through a publication, one of all tables. Then the source refuses updates and deletes of a table
  /// without a replica identity.
  public let needsPublication: Bool
  private let optionsThrough: @Sendable (_ publication: String) -> [(name: String, value: String)]
  private let parser: @Sendable () -> any RecordParser

  /// - Parameters:
  ///   - options: what a slot is read with, by a publication of that name.
  ///   - parser: one that has read nothing yet.
  init(
    _ name: String, since: Int, needsPublication: Bool,
    options: @escaping @Sendable (_ publication: String) -> [(name: String, value: String)],
    parser: @escaping @Sendable () -> any RecordParser
  ) {
    self.name = name
    self.since = since
    self.needsPublication = needsPublication
    optionsThrough = options
    self.parser = parser
  }

  /// The options of `START_REPLICATION`, and of the functions that read a slot by SQL. Unknown ones are errors.
  ///
  /// - Parameter publication: of all tables; of no account where none is needed.
  public func options(publication: String) -> [(name: String, value: String)] { optionsThrough(publication) }

  /// What reads its records, of one connection.
  public func makeParser() -> any RecordParser { parser() }
}

extension OutputPlugin: Hashable {
  public static func == (left: OutputPlugin, right: OutputPlugin) -> Bool { left.name == right.name }
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}
