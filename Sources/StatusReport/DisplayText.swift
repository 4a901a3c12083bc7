/// Text as a terminal shows it: how many columns it takes, what of it must not reach a terminal, where to cut it.
enum DisplayText {
  /// The text with everything that a terminal would act on, or that a reader could not see, made visible: control
  /// characters as their pictures (`␊`), others as `\u{202E}`. A database's name may hold anything but a zero byte.
  static func visible(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for character in text {
      // The joiner inside an emoji is part of a picture.
      let isPicture = character.unicodeScalars.first.map { $0.value > 0xFF && $0.properties.isEmoji } ?? false
      for scalar in character.unicodeScalars {
        switch scalar.value {
        case 0..<0x20: result.append(Unicode.Scalar(0x2400 + scalar.value) ?? "?")
        case 0x7F: result.append("\u{2421}")
        case 0x200D where isPicture, 0xE0020...0xE007F where isPicture: result.append(scalar)
        default:
          switch scalar.properties.generalCategory {
          case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
            result.append(contentsOf: "\\u{\(String(scalar.value, radix: 16, uppercase: true))}".unicodeScalars)
          default: result.append(scalar)
          }
        }
      }
    }
    return String(result)
  }

  /// The columns that the text takes.
  static func width(_ text: String) -> Int {
    text.reduce(0) { $0 + width($1) }
  }

  private static func width(_ character: Character) -> Int {
    var widest = 0
    for scalar in character.unicodeScalars {
      // Asks for the picture, not the text, of what stands before it.
      if scalar.value == 0xFE0F { return 2 }
      widest = max(widest, width(scalar))
    }
    return widest
  }

  private static func width(_ scalar: Unicode.Scalar) -> Int {
    if scalar.value < 0x300 { return 1 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: break
    }
    if scalar.properties.isEmojiPresentation { return 2 }
    return wide.contains { $0.contains(scalar.value) } ? 2 : 1
  }

  /// The blocks of East Asian width W and F, <https://www.unicode.org/reports/tr11/>.
  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
    0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6,
    0x16FE0...0x18DFF, 0x1B000...0x1B2FF, 0x20000...0x3FFFD,
  ]

  /// The text cut to at most `limit` columns, with `…` where something is missing.
  static func truncated(_ text: String, to limit: Int) -> String {
    if width(text) <= limit { return text }
    guard limit > 0 else { return "" }
    var result = ""
    var used = 0
    for character in text {
      let next = width(character)
      if used + next > limit - 1 { break }
      result.append(character)
      used += next
    }
    while result.last == " " { result.removeLast() }
    return result + "…"
  }

  static func padded(_ text: String, to columns: Int, right: Bool = false) -> String {
    let space = String(repeating: " ", count: max(0, columns - width(text)))
    return right ? space + text : text + space
  }
}
