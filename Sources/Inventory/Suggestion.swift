/// The hint for a name that does not exist: the nearest known one when it is near enough, else all of them.
///
/// `what` is the plural of the things named: `keys`, `hosts`, `steps`.
public func suggestion(for name: String, among known: [String], what: String) -> String {
  let limit = max(1, min(3, name.count / 3))
  let ranked = known.map { (distance: editDistance(name, $0), name: $0) }.sorted { $0 < $1 }
  if let nearest = ranked.first, nearest.distance <= limit {
    return "did you mean '\(nearest.name)'?"
  }
  return known.isEmpty ? "there are no \(what)" : "known \(what): \(known.joined(separator: ", "))"
}

/// The number of single-character insertions, deletions, substitutions and swaps of neighbours between two words
/// (optimal string alignment), upper and lower case taken as equal.
func editDistance(_ left: String, _ right: String) -> Int {
  let a = Array(left.lowercased())
  let b = Array(right.lowercased())
  if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
  var beforeLast: [Int] = []
  var last = Array(0...b.count)
  for i in 1...a.count {
    var row = [i]
    for j in 1...b.count {
      let substituted = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
      var best = min(substituted, last[j] + 1, row[j - 1] + 1)
      if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { best = min(best, beforeLast[j - 2] + 1) }
      row.append(best)
    }
    beforeLast = last
    last = row
  }
  return last[b.count]
}
