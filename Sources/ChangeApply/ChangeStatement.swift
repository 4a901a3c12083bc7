import OriginSession
import ReplicationModel

/// The statement for one kind of change of one table, as a pure value: SQL with numbered parameters, and where each
/// parameter's value comes from.
struct ChangeStatement: Equatable, Sendable {
  enum Source: Equatable, Sendable {
    /// The new tuple's value of the target column with this index.
    case new(Int)
    /// The old key's value of the target column with this index.
    case old(Int)
  }

  /// What finds the row, under the settings that the stream's text was printed under, where a row is known by its text.
  struct Search: Equatable, Sendable {
    var sql: String
    var parameters: [Source]
  }

  var sql: String
  var parameters: [Source]
  /// Goes before it, and leaves the row's place in a setting of the session.
  var search: Search?
}

extension TargetRelation {
  /// `INSERT` with the given target columns.
  ///
  /// Parameters carry no type: the server takes each column's own, so that length and precision are those of the
  /// column. Generated columns are computed by the target.
  func insertStatement(columns present: [Int]) -> ChangeStatement {
    let set = present.filter { !columns[$0].isGenerated }
    guard !set.isEmpty else {
      return ChangeStatement(sql: "INSERT INTO \(name.quoted) DEFAULT VALUES", parameters: [])
    }
    let names = set.map { quotedIdentifier(columns[$0].name) }.joined(separator: ", ")
    let values = (1...set.count).map { "$\($0)" }.joined(separator: ", ")
    return ChangeStatement(
      sql: "INSERT INTO \(name.quoted) (\(names)) OVERRIDING SYSTEM VALUE VALUES (\(values))",
      parameters: set.map { .new($0) })
  }

  /// `UPDATE` of the given columns; nil when nothing can be set.
  ///
  /// - Parameters:
  ///   - present: the new tuple's columns, without those that it leaves as they are (unchanged TOAST).
  ///   - oldKey: the old key's columns where the change carries one.
  func updateStatement(columns present: [Int], oldKey: [Int]?) throws(ApplyFailure) -> ChangeStatement? {
    let set = present.filter { !columns[$0].isGenerated }
    let replaced = set.filter { columns[$0].isIdentityAlways && !isKey($0, unlessIn: oldKey) }
    if !replaced.isEmpty { return try replaceStatement(columns: set, oldKey: oldKey) }
    let assigned = set.filter { !columns[$0].isIdentityAlways }
    guard !assigned.isEmpty else { return nil }
    let list = assigned.enumerated().map { "\(quotedIdentifier(columns[$1].name)) = $\($0 + 1)" }
    let condition = try condition(oldKey: oldKey, firstParameter: assigned.count + 1)
    return ChangeStatement(
      sql: "UPDATE ONLY \(name.quoted) SET \(list.joined(separator: ", ")) WHERE \(condition.sql)",
      parameters: assigned.map { .new($0) } + condition.parameters, search: condition.search)
  }

  /// A key column that the change says did not move need not be set.
  private func isKey(_ column: Int, unlessIn oldKey: [Int]?) -> Bool {
    guard oldKey == nil, case .key(let names) = identity else { return false }
    return names.contains(columns[column].name)
  }

  /// An UPDATE may not set a GENERATED ALWAYS identity column, whatever the session; where the new tuple may carry
  /// another value for one, the row is deleted and inserted anew in one statement, with the columns that the change
  /// did not touch taken from the old row.
  private func replaceStatement(columns set: [Int], oldKey: [Int]?) throws(ApplyFailure) -> ChangeStatement {
    let stored = columns.indices.filter { !columns[$0].isGenerated }
    let condition = try condition(oldKey: oldKey, firstParameter: set.count + 1)
    let values = stored.map { index in
      if let position = set.firstIndex(of: index) { return "$\(position + 1)::\(columns[index].type)" }
      return "gone." + quotedIdentifier(columns[index].name)
    }
    let names = stored.map { quotedIdentifier(columns[$0].name) }.joined(separator: ", ")
    return ChangeStatement(
      sql: """
        WITH gone AS (DELETE FROM ONLY \(name.quoted) WHERE \(condition.sql) RETURNING *) \
        INSERT INTO \(name.quoted) (\(names)) OVERRIDING SYSTEM VALUE SELECT \(values.joined(separator: ", ")) FROM gone
        """,
      parameters: set.map { .new($0) } + condition.parameters, search: condition.search)
  }

  func deleteStatement(oldKey: [Int]) throws(ApplyFailure) -> ChangeStatement {
    let condition = try condition(oldKey: oldKey, firstParameter: 1)
    return ChangeStatement(
      sql: "DELETE FROM ONLY \(name.quoted) WHERE \(condition.sql)", parameters: condition.parameters,
      search: condition.search)
  }

  private typealias Condition = (sql: String, parameters: [ChangeStatement.Source], search: ChangeStatement.Search?)

  private func condition(oldKey: [Int]?, firstParameter: Int) throws(ApplyFailure) -> Condition {
    switch identity {
    case .nothing:
      throw ApplyFailure(.noIdentity, "table \(name) has no replica identity, so its updates and deletes name no row")
    case .full:
      guard let oldKey else {
        throw ApplyFailure(.unreadable, "update of \(name), which has REPLICA IDENTITY FULL, without its old row")
      }
      guard searchesFirst else {
        let (filter, sources) = fullRowFilter(oldKey: oldKey, firstParameter: firstParameter)
        let place = "(SELECT ctid FROM ONLY \(name.quoted) WHERE \(filter) LIMIT 1)"
        return ("ctid OPERATOR(pg_catalog.=) \(place)", sources, nil)
      }
      let (filter, sources) = fullRowFilter(oldKey: oldKey, firstParameter: 1)
      return (
        "ctid OPERATOR(pg_catalog.=) pg_catalog.current_setting('pgconvoy.row')::pg_catalog.tid", [],
        ChangeStatement.Search(
          sql: """
            SELECT pg_catalog.set_config('pgconvoy.row', coalesce((SELECT ctid::pg_catalog.text FROM ONLY \(name.quoted) \
            WHERE \(filter) LIMIT 1), '(0,0)'), false)
            """, parameters: sources)
      )
    case .key(let names):
      var terms: [String] = []
      var sources: [ChangeStatement.Source] = []
      for name in names {
        guard let column = column(named: name) else {
          throw ApplyFailure(.drift, "key column \(name) of \(self.name) is gone on the target")
        }
        if let oldKey, !oldKey.contains(column) {
          throw ApplyFailure(.drift, "the old key of a change of \(self.name) lacks column \(name)")
        }
        terms.append(columns[column].equals(firstParameter + sources.count))
        sources.append(oldKey == nil ? .new(column) : .old(column))
      }
      return (terms.joined(separator: " AND "), sources, nil)
    }
  }

  /// One row that looks just like the old one, byte by byte in its text form: types without an equality operator
  /// (json, point, …) compare too, and values that are equal without being the same (1.0 and 1.00) do not. A column
  /// that the old row leaves out is null, which `format` would take for the empty text. Booleans are the one type that
  /// the stream does not print as their output function does. `=` on indexed columns lets the planner use an index.
  /// Generated columns follow from the others. (`IS NULL` would take a composite value of nulls only for a null.)
  private func fullRowFilter(oldKey: [Int], firstParameter: Int) -> (String, [ChangeStatement.Source]) {
    var terms: [String] = []
    var sources: [ChangeStatement.Source] = []
    for (index, column) in columns.enumerated() where !column.isGenerated {
      let name = quotedIdentifier(column.name)
      guard oldKey.contains(index) else {
        terms.append("\(name) IS NOT DISTINCT FROM NULL")
        continue
      }
      if column.isIndexed || column.type == "boolean" {
        terms.append(column.equals(firstParameter + sources.count))
        sources.append(.old(index))
      }
      if column.type == "boolean" { continue }
      terms.append("\(name) IS DISTINCT FROM NULL")
      terms.append(
        "pg_catalog.format('%s', \(name)) OPERATOR(pg_catalog.=) $\(firstParameter + sources.count)::pg_catalog.text")
      sources.append(.old(index))
    }
    return (terms.isEmpty ? "true" : terms.joined(separator: " AND "), sources)
  }
}

extension TargetRelation.Column {
  /// `"id" OPERATOR(pg_catalog.=) $1::integer`, with the operator that the column's index was made for.
  func equals(_ parameter: Int) -> String {
    "\(quotedIdentifier(name)) \(equality) $\(parameter)::\(type)"
  }
}
