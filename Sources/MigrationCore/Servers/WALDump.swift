import ReplicationModel

/// A record as `pg_waldump` prints it.
/// <https://www.postgresql.org/docs/15/pgwaldump.html>
struct WALRecord: Equatable {
  /// `Heap`, `Transaction`, …
  var manager: String
  var transaction: UInt32
  /// `COMMIT 2026-11-30 10:56:43.133640 UTC; subxacts: 726`
  var description: String

  /// Nil for a line of another kind.
  init?(_ line: some StringProtocol) {
    guard line.hasPrefix("rmgr: "), let description = line.firstRange(of: ", desc: "),
      let transaction = line.firstRange(of: ", tx: "),
      let xid = UInt32(line[transaction.upperBound...].drop { $0 == " " }.prefix { $0.isNumber })
    else { return nil }
    manager = String(line.dropFirst(6).prefix { $0 != " " })
    self.transaction = xid
    self.description = String(line[description.upperBound...])
  }

  /// A relation's file: tablespace, database (0: shared by all) and number.
  struct File: Hashable {
    var tablespace: UInt32
    var database: UInt32
    var number: UInt32
  }

  /// What a record says of rows.
  enum Effect: Equatable {
    /// Rows of a table, or a sequence's position, in this file.
    case rows(File)
    /// Of tables whose files it does not name.
    case emptied
    case message
    case commit
    /// Indexes, locks, visibility, … nothing that an application would miss.
    case other
  }

  private static let changes = ["INSERT", "DELETE", "UPDATE", "HOT_UPDATE", "MULTI_INSERT"]

  var effect: Effect {
    let word = description.prefix { $0 != " " && $0 != "+" }
    switch manager {
    case "Transaction": return isCommit ? .commit : .other
    case "LogicalMessage": return .message
    case "Sequence": return file.map(Effect.rows) ?? .other
    case "Heap" where word == "TRUNCATE": return .emptied
    case "Heap", "Heap2": return Self.changes.contains { $0 == word } ? file.map(Effect.rows) ?? .emptied : .other
    default: return .other
    }
  }

  var isCommit: Bool { manager == "Transaction" && description.hasPrefix("COMMIT") }

  /// Of a commit: those that it commits besides its own.
  var subtransactions: [UInt32] {
    guard isCommit, let list = description.firstRange(of: "; subxacts: ") else { return [] }
    return description[list.upperBound...].prefix { $0 != ";" }.split(separator: " ").compactMap { UInt32($0) }
  }

  /// The first `rel 1663/5/16384`.
  private var file: File? {
    guard let word = description.firstRange(of: "rel ") else { return nil }
    let numbers = description[word.upperBound...].prefix { $0.isNumber || $0 == "/" }.split(separator: "/")
      .compactMap { UInt32($0) }
    guard numbers.count == 3 else { return nil }
    return File(tablespace: numbers[0], database: numbers[1], number: numbers[2])
  }
}
