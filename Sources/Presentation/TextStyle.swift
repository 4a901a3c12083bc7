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

  /// What a terminal is sent: colours, unless `NO_COLOR` is set (<https://no-color.org>) or `TERM` is `dumb`.
  ///
  /// - Parameter columns: nil when the terminal does not tell.
  package static func terminal(columns: Int?, environment: (String) -> String?) -> TextStyle {
    TextStyle(width: columns, color: environment("NO_COLOR") == nil && environment("TERM") != "dumb")
  }

  /// Every way in which a text can stand out, by its SGR parameter.
  package enum Ink: String, Sendable, CaseIterable {
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"
    case cyan = "36"
  }

  /// The text in that ink where there are colours; a text that is empty, or has no ink, stays as it is.
  package func paint(_ text: String, _ ink: Ink?) -> String {
    guard color, let ink, !text.isEmpty else { return text }
    return "\u{1B}[\(ink.rawValue)m\(text)\u{1B}[0m"
  }

  /// Moves a terminal's cursor to the top and clears what it shows.
  package static let clearing = "\u{1B}[H\u{1B}[2J"
}
