/// The offset of the first byte that is not UTF-8 (RFC 3629: no overlong forms, no surrogates); nil if all is.
/// For a sequence that is broken or cut, the offset of its first byte.
func firstInvalidUTF8(_ bytes: UnsafeRawBufferPointer) -> Int? {
  var offset = 0
  while offset < bytes.count {
    while bytes.count - offset >= 16,
      (bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        | bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)) & 0x8080_8080_8080_8080 == 0
    {
      offset += 16
    }
    guard offset < bytes.count else { return nil }
    let length = sequenceLength(bytes, at: offset)
    guard length > 0 else { return offset }
    offset += length
  }
  return nil
}

/// The length of the sequence that starts here; 0 if it is not UTF-8.
private func sequenceLength(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
  let first = bytes[offset]
  if first < 0x80 { return 1 }
  let second = offset + 1 < bytes.count ? bytes[offset + 1] : 0
  let length: Int
  switch (first, second) {
  case (0xC2...0xDF, 0x80...0xBF): return 2
  case (0xE0, 0xA0...0xBF), (0xE1...0xEC, 0x80...0xBF), (0xED, 0x80...0x9F), (0xEE...0xEF, 0x80...0xBF): length = 3
  case (0xF0, 0x90...0xBF), (0xF1...0xF3, 0x80...0xBF), (0xF4, 0x80...0x8F): length = 4
  default: return 0
  }
  guard offset + length <= bytes.count else { return 0 }
  for position in (offset + 2)..<(offset + length) where bytes[position] & 0xC0 != 0x80 { return 0 }
  return length
}
