/// Text as a terminal shows it: how many columns it takes, what of it must not reach a terminal, where to cut it.
package enum DisplayText {
  /// The text with everything that a terminal would act on, or that a reader could not see, made visible: control
  /// characters as their pictures (`␊`), others as `\u{202E}`. A database's name may hold anything but a zero byte.
  /// What is visible already stays as it is.
  package static func visible(_ text: String) -> String {
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

  /// The columns that the text takes: two for a picture and for a character of East Asian width, none for a mark on
  /// the character before it.
  package static func width(_ text: String) -> Int {
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
    0x1100...0x115F, 0x2329...0x232A, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF,
    0xA000...0xA4CF, 0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE10...0xFE19, 0xFE30...0xFE6F,
    0xFF01...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18DFF, 0x1B000...0x1B2FF, 0x20000...0x3FFFD,
  ]

  /// Where a text that is too long loses something.
  package enum Cut: Sendable {
    /// Its beginning stays: a sentence.
    case end
    /// Its beginning and its end stay: a path, a name with a number.
    case middle
  }

  /// The text cut to at most `limit` columns, with `…` where something is missing.
  package static func truncated(_ text: String, to limit: Int, _ cut: Cut = .end) -> String {
    if width(text) <= limit { return text }
    guard limit > 0 else { return "" }
    let room = limit - 1
    let end = cut == .middle ? room / 2 : 0
    var head = prefix(text, of: room - end)
    while head.last == " " { head.removeLast() }
    var tail = prefix(text.reversed(), of: end)
    while tail.last == " " { tail.removeLast() }
    return String(head) + "…" + String(tail.reversed())
  }

  /// As many characters as take at most `limit` columns.
  private static func prefix(_ characters: some Sequence<Character>, of limit: Int) -> [Character] {
    var result: [Character] = []
    var used = 0
    for character in characters {
      used += width(character)
      if used > limit { break }
      result.append(character)
    }
    return result
  }
}
