/// The plugins that pgconvoy reads, in the order in which they are told to people.
extension OutputPlugin: CaseIterable, RawRepresentable {
  public static let allCases: [OutputPlugin] = [
    testDecoding,
    pgoutput,
  ]

  /// What an inventory that names none has: the one that asks nothing of the source's tables.
  public static var usual: OutputPlugin { testDecoding }

  /// Nil for a plugin that pgconvoy does not read.
  public init?(rawValue name: String) {
    guard let plugin = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = plugin
  }

  public var rawValue: String { name }
}
