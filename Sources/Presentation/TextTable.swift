/// Columns of text, aligned by what a terminal shows: the one table of the house.
///
/// Whatever a cell holds reaches a terminal as `DisplayText.visible` writes it, so that a name from a catalog can
/// neither break a line nor act on the terminal.
package struct TextTable: Sendable {
  package struct Column: Sendable {
    package var title: String
    /// Whether its cells stand at the right.
    package var right: Bool
    /// The columns of a terminal that it takes at least.
    package var least: Int
    /// Nil for one that is never cut; otherwise the fewest columns of a terminal that it keeps when the table is too
    /// wide.
    package var shrinksTo: Int?
    /// Where its cells are cut.
    package var cut: DisplayText.Cut

    package init(
      title: String = "", right: Bool = false, least: Int = 0, shrinksTo: Int? = nil, cut: DisplayText.Cut = .end
    ) {
      self.title = title
      self.right = right
      self.least = least
      self.shrinksTo = shrinksTo
      self.cut = cut
    }
  }

  package struct Cell: Sendable {
    package let text: String
    package let ink: TextStyle.Ink?

    /// What is unknown is dim, whatever its ink.
    package init(_ text: String, _ ink: TextStyle.Ink? = nil) {
      self.text = DisplayText.visible(text)
      self.ink = text == HumanFormat.unknown ? .dim : ink
    }
  }

  package var columns: [Column]
  /// Cells that a row lacks at its end are empty.
  package var rows: [[Cell]] = []
  private static let gap = "  "

  package init(_ columns: [Column]) {
    self.columns = columns
  }

  /// Columns at the left that are never cut.
  package init(titles: [String]) {
    self.init(titles.map { Column(title: $0) })
  }

  /// As many columns without a head.
  package init(columns count: Int) {
    self.init(Array(repeating: Column(), count: count))
  }

  package mutating func add(_ row: [String]) {
    rows.append(row.map { Cell($0) })
  }

  /// The head, unless no column has a title, and the rows, a line each, nothing at the lines' ends. The last columns
  /// are shortened first when the style's width is not enough.
  package func lines(_ style: TextStyle = .plain) -> [String] {
    let widths = widths(within: style.width)
    let head = columns.contains { !$0.title.isEmpty } ? [columns.map { Cell($0.title, .bold) }] : []
    return (head + rows).map { line($0, widths, style) }
  }

  /// The lines, each ended by a newline.
  package func text(_ style: TextStyle = .plain) -> String {
    lines(style).map { $0 + "\n" }.joined()
  }

  private func widths(within limit: Int?) -> [Int] {
    var widths = columns.map { max($0.least, DisplayText.width($0.title)) }
    for row in rows {
      for (index, cell) in row.enumerated().prefix(columns.count) {
        widths[index] = max(widths[index], DisplayText.width(cell.text))
      }
    }
    guard let limit else { return widths }
    for index in columns.indices.reversed() {
      guard let least = columns[index].shrinksTo else { continue }
      let excess = widths.reduce(0, +) + Self.gap.count * (columns.count - 1) - limit
      if excess > 0 { widths[index] = max(min(widths[index], least), widths[index] - excess) }
    }
    return widths
  }

  private func line(_ cells: [Cell], _ widths: [Int], _ style: TextStyle) -> String {
    var result = ""
    // Spaces that wait for something to stand behind them.
    var pending = ""
    for (column, (cell, width)) in zip(columns, zip(cells, widths)) {
      let text = DisplayText.truncated(cell.text, to: width, column.cut)
      let space = String(repeating: " ", count: max(0, width - DisplayText.width(text)))
      if column.right { pending += space }
      if !text.isEmpty {
        result += pending + style.paint(text, cell.ink)
        pending = ""
      }
      pending += (column.right ? "" : space) + Self.gap
    }
    return result
  }
}
