import LogicalDecoding
import ReplicationModel

/// What the pipeline still owes, in order: each entry says what the next answer belongs to, so that an error names
/// its change.
struct ExpectationQueue {
  enum Operation: Sendable { case insert, update, delete }

  enum Entry: Sendable {
    case plain
    case sync
    case progress
    case prepare(Operation, number: RelationNumber, lsn: LSN, xid: UInt32?)
    case commit(lsn: LSN, xid: UInt32?)
    case truncate(number: RelationNumber, lsn: LSN, xid: UInt32?)
    /// A set-based statement on so many rows.
    case set(Operation, number: RelationNumber, rows: Int, lsn: LSN)
    /// What a table must still look like for rows of it that are not text.
    case shape(String, number: RelationNumber, lsn: LSN)
    case row(Operation, number: RelationNumber, lsn: LSN, xid: UInt32?)

    var number: RelationNumber? {
      switch self {
      case .row(_, let number, _, _), .prepare(_, let number, _, _), .truncate(let number, _, _),
        .set(_, let number, _, _), .shape(_, let number, _):
        number
      default: nil
      }
    }

    var operationName: String? {
      switch self {
      case .row(let operation, _, _, _), .prepare(let operation, _, _, _), .set(let operation, _, _, _): "\(operation)"
      case .truncate: "truncate"
      case .shape: "insert"
      case .commit: "commit"
      case .plain, .sync, .progress: nil
      }
    }

    var lsn: LSN? {
      switch self {
      case .row(_, _, let lsn, _), .truncate(_, let lsn, _), .commit(let lsn, _), .prepare(_, _, let lsn, _),
        .set(_, _, _, let lsn), .shape(_, _, let lsn):
        lsn
      case .plain, .sync, .progress: nil
      }
    }

    var xid: UInt32? {
      switch self {
      case .row(_, _, _, let xid), .truncate(_, _, let xid), .commit(_, let xid), .prepare(_, _, _, let xid):
        xid
      case .plain, .sync, .progress, .set, .shape: nil
      }
    }
  }

  private var entries: [Entry] = []
  private var head = 0

  var count: Int { entries.count - head }
  var isEmpty: Bool { head == entries.count }

  mutating func append(_ entry: Entry) { entries.append(entry) }

  mutating func removeFirst() -> Entry {
    let entry = entries[head]
    head += 1
    if head == entries.count {
      entries.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 4096 {
      entries.removeFirst(head)
      head = 0
    }
    return entry
  }
}
