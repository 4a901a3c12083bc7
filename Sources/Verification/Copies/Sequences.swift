import MigrationCore
package import PostgresClient
package import ReplicationModel

/// Where a sequence stands, and what kind of sequence it is.
package struct SequenceState: Sendable, Equatable {
  package var name: RelationName
  /// Type, start, increment, bounds, cache, cycle: as one text, to be compared only.
  package var definition: String
  package var lastValue: Int64
  /// Whether `last_value` has been handed out. After `ALTER SEQUENCE RESTART` it has not.
  package var isCalled: Bool
}

/// Sets the sequences of one side (the target, in a cutover) from the other's: their positions travel in no logical stream.
package enum SequenceCopy {
  /// Sequences read or set in one statement; each takes a lock until its end.
  package static let mostPerStatement = 200

  /// Every sequence but temporary ones, owned by a column or not. What initdb made is below 16384.
  package static let listing = """
    SELECT n.nspname, c.relname,
           pg_catalog.concat_ws(' ', pg_catalog.format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin,
                                s.seqmax, s.seqcache, s.seqcycle)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
     WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.oid >= 16384
    """

  /// `last_value` itself: pg_sequences shows none for a sequence that was not called.
  package static func reading(_ names: ArraySlice<RelationName>) -> String {
    names.indices.map { "SELECT \($0), last_value, is_called FROM \(names[$0].quoted)" }
      .joined(separator: " UNION ALL ")
  }

  package static func setting(_ states: ArraySlice<SequenceState>) -> String {
    let rows = states.map { "(\(quotedLiteral($0.name.quoted)), \($0.lastValue), \($0.isCalled))" }
    return """
      SELECT pg_catalog.setval(v.name::pg_catalog.regclass, v.value, v.called) \
      FROM (VALUES \(rows.joined(separator: ", "))) AS v (name, value, called)
      """
  }

  /// The sequences of one database, by the order of their names' bytes.
  package static func read(_ session: PostgresSession) async throws -> [SequenceState] {
    let listed = try await session.query(listing).rows.map { row in
      SequenceState(
        name: RelationName(schema: row.string(0), name: row.string(1)), definition: row.string(2), lastValue: 0,
        isCalled: false)
    }
    var states = listed.sorted { $0.name.catalogBytes.lexicographicallyPrecedes($1.name.catalogBytes) }
    let names = states.map(\.name)
    for start in stride(from: 0, to: names.count, by: mostPerStatement) {
      let slice = names[start..<min(start + mostPerStatement, names.count)]
      for row in try await session.query(reading(slice)).rows {
        guard let index = row.int(0), states.indices.contains(index), let value = row[1].flatMap({ Int64($0) }) else {
          throw PostgresError(
            .unexpectedReply, message: "a sequence without a value", server: session.parameters.displayName)
        }
        states[index].lastValue = value
        states[index].isCalled = row.bool(2)
      }
    }
    return states
  }

  /// What has to be set on the target, which may have sequences of its own.
  ///
  /// - Throws: `drift.sequences-missing`, `drift.sequences-differ`.
  package static func changes(
    source: [SequenceState], target: [SequenceState], _ direction: StreamDirection = .forward,
    at place: ConvoyError.Place
  ) throws(ConvoyError) -> [SequenceState] {
    let known = Dictionary(target.map { ($0.name.catalogBytes, $0) }) { first, _ in first }
    let missing = source.filter { known[$0.name.catalogBytes] == nil }
    guard missing.isEmpty else {
      throw ConvoyError(
        "drift.sequences-missing", "not on the \(direction.toName): \(few(missing.map { "sequence \($0.name)" }))",
        at: place,
        hint: "create them on the \(direction.toName) as they are on the \(direction.fromName), "
          + "with the tables that use them")
    }
    let different = source.filter { known[$0.name.catalogBytes]?.definition != $0.definition }
    guard different.isEmpty else {
      throw ConvoyError(
        "drift.sequences-differ",
        "altered since the copy: \(few(different.map { "sequence \($0.name)" }))", at: place,
        hint: "run the same ALTER SEQUENCE on the \(direction.toName)")
    }
    return source.filter { known[$0.name.catalogBytes] != $0 }
  }

  /// What is to be set on the target so that its sequences stand where the source's do.
  package struct Plan: Sendable, Equatable {
    /// All that the source has.
    package var wanted: [SequenceState]
    /// Those that stand elsewhere on the target.
    package var changes: [SequenceState]

    /// What sets them.
    package var statements: [String] {
      stride(from: 0, to: changes.count, by: mostPerStatement).map { start in
        setting(changes[start..<min(start + mostPerStatement, changes.count)])
      }
    }
  }

  /// Reads both sides.
  package static func plan(
    source: PostgresSession, target: PostgresSession, _ direction: StreamDirection = .forward,
    at place: ConvoyError.Place
  ) async throws -> Plan {
    async let reading = read(source)
    async let present = read(target)
    let wanted = try await reading
    return Plan(
      wanted: wanted, changes: try changes(source: wanted, target: await present, direction, at: place))
  }

  /// Reads back what has been set, and compares.
  package static func confirm(
    _ plan: Plan, _ target: PostgresSession, _ direction: StreamDirection = .forward, at place: ConvoyError.Place
  ) async throws {
    let left = try changes(source: plan.wanted, target: await read(target), direction, at: place)
    guard left.isEmpty else {
      throw ConvoyError(
        "sequences.not-set", "moved while they were set: \(few(left.map { "sequence \($0.name)" }))", at: place,
        hint: "something writes on the \(direction.toName): who is connected to it?")
    }
  }
}
