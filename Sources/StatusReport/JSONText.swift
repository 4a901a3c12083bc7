import ReplicationModel

/// JSON whose keys stand in the order in which they are documented, and in which null is written out.
indirect enum JSONText {
  case null
  case bool(Bool)
  /// A number's own text.
  case number(String)
  case string(String)
  case array([JSONText])
  case object([(String, JSONText)])

  static func integer(_ value: some FixedWidthInteger) -> JSONText { .number(String(value)) }
  static func integer(_ value: UInt64?) -> JSONText { value.map { .number(String($0)) } ?? .null }
  static func string(_ value: String?) -> JSONText { value.map { JSONText.string($0) } ?? .null }
  static func lsn(_ value: LSN?) -> JSONText { string(value?.description) }

  /// Three decimals; what is not a finite number is null.
  static func decimal(_ value: Double?) -> JSONText {
    guard let value, value.isFinite, abs(value) < 1e15 else { return .null }
    let rounded = (value * 1000).rounded() / 1000
    return .number(rounded == rounded.rounded() ? String(Int64(rounded)) : "\(rounded)")
  }

  /// The document, two spaces a level, ended by a newline.
  var document: String {
    var text = ""
    write(to: &text, indent: "")
    return text + "\n"
  }

  private func write(to text: inout String, indent: String) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .number(let digits): text += digits
    case .string(let value): Self.quote(value, to: &text)
    case .array(let values):
      Self.list("[", "]", values, to: &text, indent) { value, text, indent in value.write(to: &text, indent: indent) }
    case .object(let members):
      Self.list("{", "}", members, to: &text, indent) { member, text, indent in
        Self.quote(member.0, to: &text)
        text += ": "
        member.1.write(to: &text, indent: indent)
      }
    }
  }

  private static func list<Element>(
    _ open: String, _ close: String, _ elements: [Element], to text: inout String, _ indent: String,
    _ write: (Element, inout String, String) -> Void
  ) {
    text += open
    for (index, element) in elements.enumerated() {
      text += (index == 0 ? "\n" : ",\n") + indent + "  "
      write(element, &text, indent + "  ")
    }
    text += (elements.isEmpty ? "" : "\n" + indent) + close
  }

  private static func quote(_ value: String, to text: inout String) {
    text += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16, uppercase: true)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}
