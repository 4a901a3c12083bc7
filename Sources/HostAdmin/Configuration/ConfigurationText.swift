/// The text of a PostgreSQL configuration file, as far as pgconvoy reads and writes such files.
/// <https://www.postgresql.org/docs/15/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE>
package struct ConfigurationText: Equatable {
  package struct Setting: Equatable {
    package var name: String
    package var value: String

    package init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  /// Settings in the order of the file; a later one of the same name wins.
  package var settings: [Setting] = []
  /// The paths that `include`, `include_if_exists` and `include_dir` name.
  var includes: [Include] = []

  struct Include: Equatable {
    var path: String
    var isDirectory: Bool
  }

  package init(settings: [Setting] = []) {
    self.settings = settings
  }

  /// Reads a file; what is no setting is passed over, as the server would have refused to start with it.
  package init(parsing text: String) {
    // By scalars: to `String` a carriage return and a newline are one character, which no newline matches.
    for line in text.unicodeScalars.split(separator: "\n") {
      guard let (name, value) = Self.parse(Substring(line)) else { continue }
      switch name.lowercased() {
      case "include", "include_if_exists": includes.append(Include(path: value, isDirectory: false))
      case "include_dir": includes.append(Include(path: value, isDirectory: true))
      default: settings.append(Setting(name: name, value: value))
      }
    }
  }

  private static func parse(_ line: Substring) -> (String, String)? {
    var rest = line.drop { $0 == " " || $0 == "\t" }
    let name = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "$" }
    guard !name.isEmpty else { return nil }
    rest = rest.dropFirst(name.count).drop { $0 == " " || $0 == "\t" }
    if rest.first == "=" { rest = rest.dropFirst().drop { $0 == " " || $0 == "\t" } }
    guard let first = rest.first else { return nil }
    if first != "'" {
      let value = rest.prefix { $0 != "#" && $0 != " " && $0 != "\t" && $0 != "\r" }
      return value.isEmpty ? nil : (String(name), String(value))
    }
    return quoted(rest.unicodeScalars.dropFirst()).map { (String(name), $0) }
  }

  /// What stands between quotes, as the server reads it: `''` is a quote, and backslash escapes are C's.
  private static func quoted(_ text: Substring.UnicodeScalarView) -> String? {
    var rest = text
    var value = String.UnicodeScalarView()
    while let scalar = rest.popFirst() {
      switch scalar {
      case "'":
        guard rest.first == "'" else { return String(value) }
        rest.removeFirst()
        value.append("'")
      case "\\":
        guard let escaped = rest.popFirst() else { return nil }
        switch escaped {
        case "b": value.append("\u{8}")
        case "f": value.append("\u{c}")
        case "n": value.append("\n")
        case "r": value.append("\r")
        case "t": value.append("\t")
        case "0"..."7":
          var number = escaped.value - 48
          for _ in 0..<2 {
            guard let digit = rest.first, ("0"..."7").contains(digit) else { break }
            rest.removeFirst()
            number = number * 8 + digit.value - 48
          }
          value.append(Unicode.Scalar(UInt8(number & 0xFF)))
        default: value.append(escaped)
        }
      default: value.append(scalar)
      }
    }
    return nil
  }

  package subscript(name: String) -> String? {
    settings.last { $0.name.lowercased() == name.lowercased() }?.value
  }

  /// Sets a value, replacing every earlier one of the name.
  package mutating func set(_ name: String, _ value: String) {
    remove(name)
    settings.append(Setting(name: name, value: value))
  }

  package mutating func remove(_ name: String) {
    settings.removeAll { $0.name.lowercased() == name.lowercased() }
  }

  /// A file that the server reads back as these settings, with a comment on top.
  package func rendered(comment: String) -> String {
    var text = comment.split(separator: "\n").map { "# \($0)\n" }.joined()
    for setting in settings {
      var value = String.UnicodeScalarView()
      for scalar in setting.value.unicodeScalars {
        if scalar == "'" || scalar == "\\" { value.append(scalar) }
        value.append(scalar)
      }
      text += "\(setting.name) = '\(String(value))'\n"
    }
    return text
  }
}
