import ReplicationModel

/// How a rendered text may look: how wide, and whether in colour.
public struct TextStyle: Sendable, Equatable {
  /// Columns of the terminal; nil when there is no terminal, and nothing is shortened.
  public var width: Int?
  /// Whether to send SGR escape sequences.
  public var color: Bool

  public init(width: Int? = nil, color: Bool = false) {
    self.width = width
    self.color = color
  }

  public static let plain = TextStyle()

  enum Ink: String {
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"
    case cyan = "36"
  }

  func paint(_ text: String, _ ink: Ink?) -> String {
    guard color, let ink, !text.isEmpty else { return text }
    return "\u{1B}[\(ink.rawValue)m\(text)\u{1B}[0m"
  }
}
