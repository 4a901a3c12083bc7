import Presentation
import Testing

@Suite struct Texts {
  @Test(arguments: [
    ("plain", "plain", 5), ("", "", 0), ("a\tb\u{0}\u{7F}", "a␉b␀␡", 5), ("日本", "日本", 4), ("e\u{301}", "e\u{301}", 1),
    ("🚚", "🚚", 2), ("👩‍💻", "👩‍💻", 2), ("🇩🇪", "🇩🇪", 2), ("❤️", "❤️", 2), ("\r\n", "␍␊", 2),
    ("a\u{202E}b", "a\\u{202E}b", 10), ("\u{200B}", "\\u{200B}", 8), ("\u{9B}2J", "\\u{9B}2J", 8),
    ("\u{2028}", "\\u{2028}", 8), ("ﾊ한", "ﾊ한", 3), ("1\u{200D}", "1\\u{200D}", 9),
  ])
  func whatATerminalShows(text: String, visible: String, width: Int) {
    #expect(DisplayText.visible(text) == visible)
    #expect(DisplayText.width(visible) == width)
  }

  @Test(arguments: [
    // Wide: Han, kana, Hangul in one piece and in three, full width forms, the vertical forms.
    ("漢字", 4), ("かな", 4), ("한", 2), ("\u{1112}\u{1161}\u{11AB}", 2), ("ＡＢ", 4), ("、", 2), ("\u{FE10}", 2),
    ("\u{2329}", 2),
    ("𠀀", 2), ("〿", 1), ("ｱ", 1),
    // Marks stand on what comes before them, however many, and take nothing on their own.
    ("o\u{302}\u{323}", 1), ("\u{301}", 0), ("日\u{3099}", 2), ("ก\u{E34}", 1), ("a\u{20DD}", 1),
    // Pictures: a skin, a family, a flag, a key, and what is text unless a picture is asked for.
    ("👍🏽", 2), ("👨‍👩‍👧‍👦", 2), ("🏴󠁧󠁢󠁥󠁮󠁧󠁿", 2), ("1️⃣", 2), ("☎", 1), ("☎️", 2), ("→", 1), ("█▏", 2), ("é", 1), ("Ω", 1),
  ])
  func columns(text: String, width: Int) {
    #expect(DisplayText.visible(text) == text)
    #expect(DisplayText.width(text) == width)
  }

  @Test func everyControlCharacterIsShownAndNoneIsLeft() {
    for value in Array(UInt32(0)..<0x20) + Array(UInt32(0x7F)..<0xA0) {
      let visible = DisplayText.visible(String(Unicode.Scalar(value) ?? "?"))
      #expect(
        visible == (value < 0x20 ? "\(Unicode.Scalar(0x2400 + value) ?? "?")" : value == 0x7F ? "␡" : escape(value)))
      #expect(DisplayText.visible(visible) == visible)
    }
  }

  private func escape(_ value: UInt32) -> String { "\\u{\(String(value, radix: 16, uppercase: true))}" }

  @Test(arguments: [
    ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("ab cd", 4, "ab…"), ("abc", 1, "…"),
    ("abc", 0, ""),
  ])
  func whereItIsCut(text: String, limit: Int, expected: String) {
    #expect(DisplayText.truncated(text, to: limit) == expected)
  }

  @Test(arguments: [
    ("abcdefg", 7, "abcdefg"), ("abcdefg", 6, "abc…fg"), ("abcdefg", 5, "ab…fg"), ("abcdefg", 2, "a…"),
    ("abcdefg", 1, "…"),
    ("abcdefg", 0, ""), ("日本語です", 7, "日…す"), ("日本語です", 9, "日本…です"), ("ab  cd", 5, "ab…cd"),
    ("/srv/pg/15/main", 9, "/srv…main"),
    ("e\u{301}e\u{301}e\u{301}e\u{301}", 3, "e\u{301}…e\u{301}"),
  ])
  func whereItIsCutInTheMiddle(text: String, limit: Int, expected: String) {
    let cut = DisplayText.truncated(text, to: limit, .middle)
    #expect(cut == expected)
    #expect(DisplayText.width(cut) <= limit)
  }
}
