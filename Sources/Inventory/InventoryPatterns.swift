public import ReplicationModel

extension FleetInventory {
  /// The migrations that a pattern names, in the order of the file.
  ///
  /// A pattern is a list of terms with commas between them: `all`, a migration, a group, or a glob over the names of
  /// both. `!term` takes migrations out, `&term` keeps only those that the term names too; their order does not
  /// matter. A pattern that starts from nothing (`!x`, `&x`) starts from all.
  ///
  /// Throws `inventory.unmatched-pattern` when a term, or all of it, names no migration: a misspelt name must not
  /// pass for an empty one.
  public func migrations(matching pattern: String, at place: SourcePlace? = nil) throws(ConvoyError) -> [Migration] {
    var chosen: Set<String>?
    var kept: Set<String>?
    var excluded: Set<String> = []
    let terms = pattern.split(separator: ",", omittingEmptySubsequences: true).map { trimmed($0) }
    for term in terms where !term.isEmpty {
      switch term.first {
      case "!": excluded.formUnion(try names(of: trimmed(term.dropFirst()), place))
      case "&":
        let names = try names(of: trimmed(term.dropFirst()), place)
        kept = kept.map { $0.intersection(names) } ?? names
      default: chosen = try names(of: term, place).union(chosen ?? [])
      }
    }
    let isEmpty = chosen == nil && kept == nil && excluded.isEmpty
    let found = migrations.filter { migration in
      !isEmpty && chosen?.contains(migration.name) ?? true && kept?.contains(migration.name) ?? true
        && !excluded.contains(migration.name)
    }
    if found.isEmpty {
      throw unmatched(
        "pattern '\(pattern)' leaves no migration", place, hint: "known names: \(knownNames.joined(separator: ", "))")
    }
    return found
  }

  /// Every name that a pattern may use, besides `all`.
  public var knownNames: [String] { migrations.map(\.name) + groups.map(\.name) }

  private func names(of term: String, _ place: SourcePlace?) throws(ConvoyError) -> Set<String> {
    if term == "all" { return Set(migrations.map(\.name)) }
    let glob = Glob(term)
    var names = Set(migrations.map(\.name).filter(glob.matches))
    for group in groups where glob.matches(group.name) { names.formUnion(group.members) }
    // An empty group is a name all the same.
    if names.isEmpty, group(named: term) == nil {
      throw unmatched(
        "pattern '\(term)' matches no migration", place, hint: suggestion(for: term, among: knownNames, what: "names"))
    }
    return names
  }

  private func unmatched(_ message: String, _ place: SourcePlace?, hint: String) -> ConvoyError {
    ConvoyError("inventory.unmatched-pattern", message, at: place?.errorPlace, hint: hint, kind: .usage)
  }

  private func trimmed(_ text: Substring) -> String { trimmed(String(text)) }

  private func trimmed(_ text: String) -> String {
    let start = text.drop { $0 == " " }
    return String(start.reversed().drop { $0 == " " }.reversed())
  }
}
