import Glibc

/// A place in a message's record that looks like `, sz: N content:`.
///
/// The parser, which knows where the record ends, and the splitter, which looks for the end, read it alike.
enum MessageHeader: Equatable {
  /// The comma's position, where the content starts, and N.
  case whole(comma: Int, content: Int, size: Int)
  /// The comma's position, and the first byte that does not fit.
  case broken(comma: Int, mismatch: Int)
  /// The bytes end before it is decided; the comma's position.
  case cut(comma: Int)

  /// What PostgreSQL can put into one message: its strings stay below 1 GiB.
  static let maximumSize = 1 << 30

  /// The first `, sz: ` at or behind `start` and what it is; nil when there is none.
  static func find(in bytes: UnsafeRawBufferPointer, from start: Int) -> MessageHeader? {
    guard let base = bytes.baseAddress else { return nil }
    var from = start
    while from < bytes.count, let hit = memchr(base + from, Int32(UInt8(ascii: ",")), bytes.count - from) {
      let comma = UnsafeRawPointer(hit) - base
      var cursor = RecordCursor(base: base, count: bytes.count)
      cursor.offset = comma
      if cursor.skip(", sz: ") { return read(cursor, comma) }
      if comma + cursor.sharedPrefix(with: ", sz: ") == bytes.count { return .cut(comma: comma) }
      from = comma + 1
    }
    return nil
  }

  /// The cursor stands on the digits.
  private static func read(_ start: RecordCursor, _ comma: Int) -> MessageHeader {
    var cursor = start
    var size = 0
    while cursor.offset < cursor.count, RecordCursor.isDigit(cursor.byte(at: cursor.offset)) {
      // `%zu` prints no leading zero.
      guard size > 0 || cursor.offset == start.offset else { return .broken(comma: comma, mismatch: cursor.offset) }
      size = size * 10 + Int(cursor.byte(at: cursor.offset) - UInt8(ascii: "0"))
      guard size <= maximumSize else { return .broken(comma: comma, mismatch: cursor.offset) }
      cursor.offset += 1
    }
    if cursor.isAtEnd { return .cut(comma: comma) }
    guard cursor.offset > start.offset else { return .broken(comma: comma, mismatch: cursor.offset) }
    if cursor.skip(" content:") { return .whole(comma: comma, content: cursor.offset, size: size) }
    let mismatch = cursor.offset + cursor.sharedPrefix(with: " content:")
    return mismatch == cursor.count ? .cut(comma: comma) : .broken(comma: comma, mismatch: mismatch)
  }
}
