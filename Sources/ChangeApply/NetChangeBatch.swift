import BlockingIO
import Glibc
import LogicalDecoding

/// The changes of one table within a batch, reduced to the last state of each row.
///
/// A pure value: changes go in one at a time in the order of the stream, a plan of set-based statements comes out.
/// Rows are told apart by the text of their key columns, so it is only for tables whose key types have one text per
/// value (see `TargetRelation.Column.hasOneTextPerValue`). Everything is kept in a few flat buffers: nothing is
/// allocated for a row or a value, and values stay where they are in their records, which whoever fills the batch keeps
/// until `removeAll`.
struct NetChangeBatch {
  /// What a row's changes come to.
  enum Outcome: UInt8 {
    /// Nothing: inserted and deleted again within the batch.
    case nothing
    case insert
    case update
    case delete
    /// Deleted, then inserted anew: both statements, so that no column of the old row survives.
    case replace
  }

  /// Where a value is; two lengths are special.
  struct Value {
    var address: UnsafeRawPointer?
    var length: Int

    static var null: Value { Value(address: nil, length: -1) }
    /// The change said nothing about the column: unchanged TOAST, or a column outside the key of a delete.
    static var unset: Value { Value(address: nil, length: -2) }

    var isSet: Bool { length != -2 }
    /// Nil for null, and for what is not set.
    var bytes: UnsafeRawBufferPointer? {
      length >= 0 ? UnsafeRawBufferPointer(start: address, count: length) : nil
    }
  }

  struct Row {
    var outcome: Outcome
    /// Whether the row stood in the table before the batch: a delete of it must be sent.
    var existedBefore: Bool
    var hash: UInt64
  }

  /// Of the target table.
  let columnCount: Int
  /// Target columns of the replica identity; empty for a table that takes inserts only.
  let keyColumns: [Int]

  private(set) var rows: [Row] = []
  /// `columnCount` values for each row.
  private(set) var values: [Value] = []
  /// Open addressing over `rows`: the upper half of a row's hash, and below it its number plus one; 0 is free. Its size
  /// is a power of two. A row itself is looked at only where the half agrees, for it lies somewhere else in memory.
  private var buckets: [UInt64] = []
  private let unsetRow: [Value]
  /// The values that do not stand in their records as they are.
  private var undoubled = ValueStore()
  private(set) var changeCount = 0

  init(columnCount: Int, keyColumns: [Int]) {
    self.columnCount = columnCount
    self.keyColumns = keyColumns
    unsetRow = [Value](repeating: .unset, count: columnCount)
  }

  var isEmpty: Bool { rows.isEmpty }
  /// Bytes of memory that it fills, without the records.
  var byteCount: Int {
    undoubled.byteCount + values.count * MemoryLayout<Value>.stride
      + rows.count * (MemoryLayout<Row>.stride + 3 * MemoryLayout<UInt64>.stride)
  }

  /// Room for many rows, with nothing in it, that one batch leaves to another.
  struct Room {
    fileprivate var rows: [Row]
    fileprivate var values: [Value]
    fileprivate var buckets: [UInt64]
  }

  /// Rows whose room each table may keep.
  static var keptRows: Int { 1024 }

  /// Rows that it has room for.
  var capacity: Int { rows.capacity }

  /// Forgets all changes. Room for many rows goes into `spare`: there may be many tables, and each has few turns.
  mutating func removeAll(spare: inout Room?) {
    clearBuckets()
    rows.removeAll(keepingCapacity: true)
    values.removeAll(keepingCapacity: true)
    undoubled = ValueStore()
    changeCount = 0
    guard rows.capacity > Self.keptRows else { return }
    if rows.capacity > spare?.rows.capacity ?? 0 { spare = Room(rows: rows, values: values, buckets: buckets) }
    rows = []
    values = []
    buckets = []
  }

  /// Only while it is empty.
  mutating func take(_ room: Room) {
    rows = room.rows
    values = room.values
    buckets = room.buckets
  }

  /// All of them, or where few are taken just those: a row's place lies at most at the end of the run that begins where
  /// its hash points to.
  private mutating func clearBuckets() {
    guard !buckets.isEmpty else { return }
    if rows.count * 16 > buckets.count {
      for index in buckets.indices { buckets[index] = 0 }
      return
    }
    let mask = buckets.count - 1
    for row in rows {
      var bucket = Int(truncatingIfNeeded: row.hash) & mask
      while buckets[bucket] != 0 {
        buckets[bucket] = 0
        bucket = (bucket + 1) & mask
      }
    }
  }

  func value(_ row: Int, _ column: Int) -> Value { values[row * columnCount + column] }

  /// The keys of all rows, to be asked about later. Nothing but `removeAll` may follow.
  mutating func takeKeys() -> BatchKeys {
    defer { buckets = [] }
    return BatchKeys(buckets: buckets)
  }

  // MARK: changes

  /// Takes a new tuple; false when the row is there already or a value is missing, which a stream in good order never
  /// says.
  ///
  /// - Parameter targets: the target column of each tuple column.
  mutating func insert(
    _ columns: [DecodedColumn], targets: [Int], of record: UnsafeRawBufferPointer
  ) -> Bool {
    guard !columns.contains(where: { $0.form == .unchangedToast }) else { return false }
    changeCount += 1
    let added = append(columns, targets: targets, of: record)
    guard !keyColumns.isEmpty else {
      rows.append(Row(outcome: .insert, existedBefore: false, hash: 0))
      return true
    }
    let hash = hashKey(at: added)
    guard let known = find(hash, keyAt: added) else {
      add(Row(outcome: .insert, existedBefore: false, hash: hash))
      return true
    }
    let outcome = rows[known].outcome
    guard outcome == .delete || outcome == .nothing else {
      values.removeLast(columnCount)
      return false
    }
    rows[known].outcome = rows[known].existedBefore ? .replace : .insert
    moveLastValues(to: known)
    return true
  }

  /// Takes an update that leaves the key as it is; false when the batch has the row as deleted.
  mutating func update(
    _ columns: [DecodedColumn], targets: [Int], of record: UnsafeRawBufferPointer
  ) -> Bool {
    let (added, hash, known) = locate(columns, targets: targets, of: record)
    guard let known else {
      add(Row(outcome: .update, existedBefore: true, hash: hash))
      return true
    }
    guard rows[known].outcome != .delete, rows[known].outcome != .nothing else {
      values.removeLast(columnCount)
      return false
    }
    for column in 0..<columnCount {
      let new = values[added + column]
      if new.isSet { values[known * columnCount + column] = new }
    }
    values.removeLast(columnCount)
    return true
  }

  /// Takes a delete by its key; false when the batch has the row as deleted already.
  mutating func delete(
    _ columns: [DecodedColumn], targets: [Int], of record: UnsafeRawBufferPointer
  ) -> Bool {
    let (_, hash, known) = locate(columns, targets: targets, of: record)
    guard let known else {
      add(Row(outcome: .delete, existedBefore: true, hash: hash))
      return true
    }
    values.removeLast(columnCount)
    switch rows[known].outcome {
    case .insert: rows[known].outcome = .nothing
    case .update, .replace: rows[known].outcome = .delete
    case .delete, .nothing: return false
    }
    return true
  }

  // MARK: storage

  fileprivate static let upperHalf: UInt64 = 0xFFFF_FFFF << 32

  /// Appends a change's values and looks for the row that they belong to by its key.
  private mutating func locate(
    _ columns: [DecodedColumn], targets: [Int], of record: UnsafeRawBufferPointer
  ) -> (added: Int, hash: UInt64, known: Int?) {
    changeCount += 1
    let added = append(columns, targets: targets, of: record)
    let hash = hashKey(at: added)
    return (added, hash, find(hash, keyAt: added))
  }

  /// Appends one row's values; returns the index of its first.
  private mutating func append(
    _ columns: [DecodedColumn], targets: [Int], of record: UnsafeRawBufferPointer
  ) -> Int {
    let first = values.count
    values.append(contentsOf: unsetRow)
    for index in columns.indices {
      switch columns[index].form {
      case .null: values[first + targets[index]] = .null
      case .unchangedToast: break
      case .verbatim:
        let place = columns[index].value
        values[first + targets[index]] = Value(
          address: record.baseAddress.map { $0 + place.start }, length: place.count)
      case .doubledQuotes: values[first + targets[index]] = undoubled.take(columns[index], of: record)
      }
    }
    return first
  }

  private mutating func moveLastValues(to row: Int) {
    let last = values.count - columnCount
    for column in 0..<columnCount { values[row * columnCount + column] = values[last + column] }
    values.removeLast(columnCount)
  }

  private mutating func add(_ row: Row) {
    rows.append(row)
    if rows.count * 2 > buckets.count { rehash() } else { place(rows.count - 1, hash: row.hash) }
  }

  private mutating func rehash() {
    buckets = [UInt64](repeating: 0, count: max(1024, buckets.count * 2))
    for index in rows.indices { place(index, hash: rows[index].hash) }
  }

  private mutating func place(_ row: Int, hash: UInt64) {
    let mask = buckets.count - 1
    var bucket = Int(truncatingIfNeeded: hash) & mask
    while buckets[bucket] != 0 { bucket = (bucket + 1) & mask }
    buckets[bucket] = hash & Self.upperHalf | UInt64(row + 1)
  }

  private func find(_ hash: UInt64, keyAt added: Int) -> Int? {
    guard !buckets.isEmpty else { return nil }
    let mask = buckets.count - 1
    var bucket = Int(truncatingIfNeeded: hash) & mask
    while true {
      let entry = buckets[bucket]
      if entry == 0 { return nil }
      if (entry ^ hash) & Self.upperHalf == 0 {
        let row = Int(entry & ~Self.upperHalf) - 1
        if rows[row].hash == hash && sameKey(row, keyAt: added) { return row }
      }
      bucket = (bucket + 1) & mask
    }
  }

  private func sameKey(_ row: Int, keyAt added: Int) -> Bool {
    for column in keyColumns {
      let left = values[row * columnCount + column]
      let right = values[added + column]
      guard left.length == right.length else { return false }
      if left.length > 0, let one = left.address, let other = right.address, memcmp(one, other, left.length) != 0 {
        return false
      }
    }
    return true
  }

  /// FNV-1a over the key's columns, eight bytes at a time, lengths mixed in; finished by a multiplication so that the
  /// low bits depend on all.
  private func hashKey(at first: Int) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    let prime: UInt64 = 0x9E37_79B9_7F4A_7C15
    for column in keyColumns {
      let value = values[first + column]
      hash = (hash ^ UInt64(bitPattern: Int64(value.length))) &* prime
      guard value.length > 0, let address = value.address else { continue }
      var offset = 0
      while offset + 8 <= value.length {
        hash = (hash ^ address.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* prime
        hash ^= hash >> 29
        offset += 8
      }
      while offset < value.length {
        hash = (hash ^ UInt64(address.load(fromByteOffset: offset, as: UInt8.self))) &* prime
        offset += 1
      }
    }
    hash ^= hash >> 32
    return hash &* prime
  }
}

/// Which keys a batch had. It may say so of one that was not there, rarely, and never the other way round.
struct BatchKeys {
  /// As in `NetChangeBatch`: what is behind the hash is not needed.
  fileprivate let buckets: [UInt64]

  /// None.
  init() { buckets = [] }

  fileprivate init(buckets: [UInt64]) { self.buckets = buckets }

  func mayContain(_ hash: UInt64) -> Bool {
    guard !buckets.isEmpty else { return false }
    let mask = buckets.count - 1
    var bucket = Int(truncatingIfNeeded: hash) & mask
    while buckets[bucket] != 0 {
      if (buckets[bucket] ^ hash) & NetChangeBatch.upperHalf == 0 { return true }
      bucket = (bucket + 1) & mask
    }
    return false
  }
}

/// Values that had to be written anew, at addresses that stay.
private struct ValueStore {
  private static let blockBytes = 64 << 10
  private var blocks: [StableBytes] = []
  private var used = 0
  private var scratch: [UInt8] = []
  private(set) var byteCount = 0

  mutating func take(_ column: DecodedColumn, of record: UnsafeRawBufferPointer) -> NetChangeBatch.Value {
    scratch.removeAll(keepingCapacity: true)
    appendValue(column, of: record, to: &scratch)
    if blocks.isEmpty || used + scratch.count > blocks[blocks.count - 1].capacity {
      let block = StableBytes(capacity: max(scratch.count, Self.blockBytes))
      blocks.append(block)
      byteCount += block.capacity
      used = 0
    }
    let place = blocks[blocks.count - 1].base + used
    place.copyMemory(from: scratch, byteCount: scratch.count)
    used += scratch.count
    return NetChangeBatch.Value(address: UnsafeRawPointer(place), length: scratch.count)
  }
}
