/// Columns of text, aligned by what a terminal shows.
struct TextTable {
  struct Column {
    var title: String
    var right = false
    /// Columns that may be cut when the table is too wide, and the fewest columns that they keep.
    var shrinksTo: Int?
  }

  struct Cell {
    var text: String
    var ink: TextStyle.Ink?

    init(_ text: String, _ ink: TextStyle.Ink? = nil) {
      self.text = text
      self.ink = text == HumanFormat.unknown ? .dim : ink
    }
  }

  var columns: [Column]
  var rows: [[Cell]] = []
  private static let gap = "  "

  init(_ columns: [Column]) {
    self.columns = columns
  }

  /// The head and the rows, a line each, nothing at the lines' ends. The last columns are shortened first when the
  /// width is not enough.
  func lines(_ style: TextStyle) -> [String] {
    var widths = columns.indices.map { index in
      rows.map { DisplayText.width($0[index].text) }.reduce(DisplayText.width(columns[index].title), max)
    }
    if let limit = style.width {
      for index in columns.indices.reversed() {
        guard let least = columns[index].shrinksTo else { continue }
        let excess = widths.reduce(0, +) + Self.gap.count * (columns.count - 1) - limit
        if excess > 0 { widths[index] = max(min(widths[index], least), widths[index] - excess) }
      }
    }
    let head = columns.map { Cell($0.title, .bold) }
    return ([head] + rows).map { line($0, widths, style) }
  }

  private func line(_ cells: [Cell], _ widths: [Int], _ style: TextStyle) -> String {
    var result = ""
    var pending = ""
    for (index, cell) in cells.enumerated() {
      let text = DisplayText.truncated(cell.text, to: widths[index])
      let space = String(repeating: " ", count: max(0, widths[index] - DisplayText.width(text)))
      if columns[index].right { pending += space }
      if !text.isEmpty {
        result += pending + style.paint(text, cell.ink)
        pending = ""
      }
      pending += (columns[index].right ? "" : space) + Self.gap
    }
    return result
  }
}
