import BlockingIO

/// What the records of waiting changes stand in: batches point into them, so it is kept as long as any batch waits.
struct KeptRecords {
  /// What the record in hand stands in.
  private var inHand: StableBytes?
  private(set) var kept: [StableBytes] = []
  /// The last of them.
  private var last: StableBytes?
  /// What was counted last: in full and once, however often what waits is sent meanwhile.
  private var counted: StableBytes?

  @inline(__always)
  mutating func take(_ storage: StableBytes) {
    if storage !== inHand { inHand = storage }
  }

  /// Keeps what the record in hand stands in. Only for a change that goes into a batch: others may come by the million
  /// before anything is sent.
  ///
  /// - Returns: the bytes that are to be counted for it, none where they have been.
  @inline(__always)
  mutating func keep() -> Int {
    guard let storage = inHand, storage !== last else { return 0 }
    last = storage
    kept.append(storage)
    guard storage !== counted else { return 0 }
    counted = storage
    return storage.capacity
  }

  /// No batch waits any more.
  mutating func forget() {
    kept.removeAll(keepingCapacity: true)
    last = nil
  }

  /// No more records of the chunk in hand will come.
  mutating func endChunk() {
    inHand = nil
    counted = nil
  }
}
