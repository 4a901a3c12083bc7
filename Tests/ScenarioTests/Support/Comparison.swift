import BlockingIO
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// Rows and sequences of both servers, side by side, by nothing of the product but its connection.
extension Scenario {
  /// Every row of every table and materialized view of the databases, in one order, is the same text on both sides;
  /// so is every sequence where asked for. Both sides must stand still.
  func expectIdentical(
    _ names: [String]? = nil, sequences: Bool = false, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    for name in names ?? databases {
      let theirs = try await relations(.source, name)
      let ours = try await relations(.target, name)
      #expect(theirs == ours, "relations of \(name)", sourceLocation: sourceLocation)
      let shared = theirs.filter { ours.contains($0) }
      async let left = rows(.source, name, shared)
      async let right = rows(.target, name, shared)
      for (relation, (left, right)) in zip(shared, zip(try await left, try await right)) {
        let difference = firstDifference(left, right)
        #expect(difference == nil, "\(name): \(relation)", sourceLocation: sourceLocation)
      }
      guard sequences else { continue }
      #expect(
        try await self.sequences(.source, name) == self.sequences(.target, name), "sequences of \(name)",
        sourceLocation: sourceLocation)
    }
  }

  /// Each commit that the source's application knows of is in the target's ledger.
  func expectAcknowledgedOnTarget(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await expectAcknowledged([source], on: .target, sourceLocation: sourceLocation)
  }

  /// Each commit that the hosts' applications know of is in one server's ledger.
  func expectAcknowledged(
    _ hosts: [LabHost], on role: Role, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    for host in hosts {
      for (database, tokens) in try acknowledged(host) {
        let ledger = try await sql(role, "SELECT token FROM public.app_ledger", in: database).map { $0[0] }
        let lost = tokens.subtracting(ledger)
        #expect(
          lost.isEmpty, "\(lost.count) commits that \(host.name) acknowledged are lost in \(database)",
          sourceLocation: sourceLocation)
        #expect(!tokens.isEmpty, sourceLocation: sourceLocation)
      }
    }
  }

  /// Ordinary tables, partitions among them, and materialized views.
  private func relations(_ role: Role, _ database: String) async throws -> [String] {
    try await sql(
      role,
      """
      SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('information_schema', 'pgconvoy_record') AND n.nspname !~ '^pg_'
       ORDER BY 1
      """, in: database
    ).map { $0[0] }
  }

  private func sequences(_ role: Role, _ database: String) async throws -> [String] {
    let names = try await sql(
      role, "SELECT format('%I.%I', schemaname, sequencename) FROM pg_catalog.pg_sequences ORDER BY 1", in: database)
    guard !names.isEmpty else { return [] }
    let selects = names.map { "SELECT \(quotedLiteral($0[0])), last_value, is_called FROM \($0[0])" }
    return try await sql(role, selects.joined(separator: " UNION ALL ") + " ORDER BY 1", in: database).map {
      $0.joined(separator: " ")
    }
  }

  /// The text of each relation's rows, in the relations' order.
  private func rows(_ role: Role, _ database: String, _ relations: [String]) async throws -> [[UInt8]] {
    let parameters = try parameters(role, database)
    return try await onDedicatedThread("copy") {
      let connection = try PostgresConnection.connect(parameters)
      return try relations.map { relation in
        try copyOut(
          "COPY (SELECT r FROM (SELECT x::text AS r FROM ONLY \(relation) x) q ORDER BY r COLLATE \"C\") TO STDOUT",
          from: connection)
      }
    }
  }
}

private func copyOut(_ command: String, from connection: PostgresConnection) throws -> [UInt8] {
  try connection.script(command)
  var bytes: [UInt8] = []
  while true {
    switch try connection.readCopyMessage({ bytes.append(contentsOf: $0) }) {
    case .message: continue
    case .end: return bytes
    case .wouldBlock:
      let ready = poll([(connection.fileDescriptor, 1)], until: .after(.seconds(30)))
      guard ready[0] != 0 else { throw TestFailure("no row within 30 s: \(command)") }
      try connection.consumeInput()
    }
  }
}

/// Nil when the texts are equal; else the first lines that one side has and the other has not.
private func firstDifference(_ left: [UInt8], _ right: [UInt8]) -> String? {
  guard left != right else { return nil }
  func lines(_ bytes: [UInt8]) -> [String: Int] {
    bytes.split(separator: 10).reduce(into: [:]) {
      $0[String(decoding: $1.prefix(300), as: UTF8.self), default: 0] += 1
    }
  }
  let (ours, theirs) = (lines(left), lines(right))
  func surplus(_ many: [String: Int], _ few: [String: Int]) -> [String] {
    many.filter { $0.value > few[$0.key] ?? 0 }.map { "\($0.value - (few[$0.key] ?? 0)) × \($0.key)" }.sorted()
  }
  let (onlyLeft, onlyRight) = (surplus(ours, theirs), surplus(theirs, ours))
  return "\(onlyLeft.count) lines on the source only: \(onlyLeft.prefix(3)); "
    + "\(onlyRight.count) on the target only: \(onlyRight.prefix(3))"
}
