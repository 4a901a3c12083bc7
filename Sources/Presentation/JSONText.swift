/// JSON whose keys stand in the order in which they are documented, and in which null is written out.
package indirect enum JSONText: Sendable {
  case null
  case bool(Bool)
  /// A number's own text.
  case number(String)
  case string(String)
  case array([JSONText])
  case object([(String, JSONText)])

  package static func integer(_ value: some FixedWidthInteger) -> JSONText { .number(String(value)) }
  package static func integer(_ value: UInt64?) -> JSONText { value.map { .number(String($0)) } ?? .null }
  package static func string(_ value: String?) -> JSONText { value.map { JSONText.string($0) } ?? .null }

  /// Three decimals; what is not a finite number is null.
  package static func decimal(_ value: Double?) -> JSONText {
    guard let value, value.isFinite, abs(value) < 1e15 else { return .null }
    let rounded = (value * 1000).rounded() / 1000
    return .number(rounded == rounded.rounded() ? String(Int64(rounded)) : "\(rounded)")
  }

  /// The document, two spaces a level, ended by a newline.
  package var document: String {
    var bytes: [UInt8] = []
    write(to: &bytes, depth: 0)
    bytes.append(literal: "\n")
    return String(decoding: bytes, as: UTF8.self)
  }

  private func write(to bytes: inout [UInt8], depth: Int) {
    switch self {
    case .null: bytes.append(literal: "null")
    case .bool(let value): bytes.append(json: value)
    case .number(let digits): bytes.append(contentsOf: digits.utf8)
    case .string(let value): bytes.append(jsonString: value)
    case .array(let values):
      Self.list("[", "]", values, to: &bytes, depth) { value, bytes in value.write(to: &bytes, depth: depth + 1) }
    case .object(let members):
      Self.list("{", "}", members, to: &bytes, depth) { member, bytes in
        bytes.append(jsonString: member.0)
        bytes.append(literal: ": ")
        member.1.write(to: &bytes, depth: depth + 1)
      }
    }
  }

  private static func list<Element>(
    _ open: StaticString, _ close: StaticString, _ elements: [Element], to bytes: inout [UInt8], _ depth: Int,
    _ write: (Element, inout [UInt8]) -> Void
  ) {
    bytes.append(literal: open)
    for (index, element) in elements.enumerated() {
      bytes.append(literal: index == 0 ? "\n" : ",\n")
      indent(depth + 1, &bytes)
      write(element, &bytes)
    }
    if !elements.isEmpty {
      bytes.append(literal: "\n")
      indent(depth, &bytes)
    }
    bytes.append(literal: close)
  }

  private static func indent(_ depth: Int, _ bytes: inout [UInt8]) {
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * depth))
  }
}
