import BlockingIO

/// A record at an address that stays, as it stands in a chunk of the stream.
struct StoredRecord {
  let storage: StableBytes
  let bytes: UnsafeRawBufferPointer

  init(_ record: [UInt8]) {
    storage = record.withUnsafeBytes { StableBytes($0) }
    bytes = UnsafeRawBufferPointer(start: storage.base, count: record.count)
  }

  init(_ record: String) { self.init(Array(record.utf8)) }
}
