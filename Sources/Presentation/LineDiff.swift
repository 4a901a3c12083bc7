/// The difference of two texts, line by line.
package enum LineDiff {
  /// `diff -u`'s lines, with three lines of context, hunk headers included and file headers not.
  package static func unified(old: String, new: String, context: Int = 3) -> [String] {
    let a = lines(old)
    let b = lines(new)
    let script = script(a, b)
    var hunks: [String] = []
    var index = 0
    while let change = script[index...].firstIndex(where: { $0.mark != " " }) {
      let start = max(index, change - context)
      var end = change
      // The hunk goes on while the next change is near enough for the contexts to touch.
      while let next = script[end...].firstIndex(where: { $0.mark != " " }), next - end <= 2 * context {
        end = next + 1
      }
      let stop = min(script.count, end + context)
      let part = script[start..<stop]
      let oldCount = part.count { $0.mark != "+" }
      let newCount = part.count { $0.mark != "-" }
      let oldStart = script[..<start].count { $0.mark != "+" } + (oldCount > 0 ? 1 : 0)
      let newStart = script[..<start].count { $0.mark != "-" } + (newCount > 0 ? 1 : 0)
      hunks.append("@@ -\(oldStart),\(oldCount) +\(newStart),\(newCount) @@")
      hunks += part.map { String($0.mark) + $0.line }
      index = stop
    }
    return hunks
  }

  private static func lines(_ text: String) -> [String] {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if lines.last == "" { lines.removeLast() }
    return lines
  }

  private static func script(_ a: [String], _ b: [String]) -> [(mark: Character, line: String)] {
    let difference = b.difference(from: a)
    var removed: Set<Int> = []
    var inserted: Set<Int> = []
    for change in difference {
      switch change {
      case .remove(let offset, _, _): removed.insert(offset)
      case .insert(let offset, _, _): inserted.insert(offset)
      }
    }
    var script: [(mark: Character, line: String)] = []
    var i = 0
    var j = 0
    while i < a.count || j < b.count {
      if i < a.count, removed.contains(i) {
        script.append(("-", a[i]))
        i += 1
      } else if j < b.count, inserted.contains(j) {
        script.append(("+", b[j]))
        j += 1
      } else {
        script.append((" ", a[i]))
        i += 1
        j += 1
      }
    }
    return script
  }
}
