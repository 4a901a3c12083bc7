/// The bytes of a file as a `String`, and back: no byte is lost or changed, whatever encoding the file is in.
///
/// UTF-8 reads as what it is. Each byte that is no part of valid UTF-8 is read as one of 256 scalars at the end of the last
/// private-use plane, which stand for nothing else: where a file has these very scalars, their bytes are read one by one.
package enum ByteText {
  private static let first: UInt32 = 0x10FE00

  package static func string(_ bytes: some Collection<UInt8>) -> String {
    var text = String.UnicodeScalarView()
    var decoder = UTF8()
    var index = bytes.startIndex
    while index < bytes.endIndex {
      // Never more than four bytes at a time: a decoder reads ahead.
      var rest = bytes[index...].prefix(4).makeIterator()
      decoder = UTF8()
      if case .scalarValue(let scalar) = decoder.decode(&rest), !stands(scalar) {
        text.append(scalar)
        index = bytes.index(index, offsetBy: UTF8.width(scalar))
      } else {
        if let scalar = Unicode.Scalar(first + UInt32(bytes[index])) { text.append(scalar) }
        index = bytes.index(after: index)
      }
    }
    return String(text)
  }

  package static func bytes(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      if stands(scalar) { bytes.append(UInt8(scalar.value - first)) } else { bytes += UTF8.encode(scalar) ?? .init() }
    }
    return bytes
  }

  /// As a person is shown it: what is no UTF-8 as the usual mark.
  package static func shown(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { stands($0) ? "\u{FFFD}" : $0 }))
  }

  private static func stands(_ scalar: Unicode.Scalar) -> Bool { (first...first + 0xFF).contains(scalar.value) }
}
