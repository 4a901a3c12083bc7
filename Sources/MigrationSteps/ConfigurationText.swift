/// The text of a PostgreSQL configuration file, as far as pgconvoy reads and writes such files.
/// <https://www.postgresql.org/docs/15/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE>
struct ConfigurationText: Equatable {
  struct Setting: Equatable {
    var name: String
    var value: String
  }

  /// Settings in the order of the file; a later one of the same name wins.
  var settings: [Setting] = []
  /// The paths that `include`, `include_if_exists` and `include_dir` name.
  var includes: [Include] = []

  struct Include: Equatable {
    var path: String
    var isDirectory: Bool
  }

  init(settings: [Setting] = []) {
    self.settings = settings
  }

  /// Reads a file; what is no setting is passed over, as the server would have refused to start with it.
  init(parsing text: String) {
    for line in text.split(separator: "\n") {
      guard let (name, value) = Self.parse(line) else { continue }
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
    var value = ""
    var index = rest.index(after: rest.startIndex)
    while index < rest.endIndex {
      let character = rest[index]
      let next = rest.index(after: index)
      if character == "'" {
        guard next < rest.endIndex, rest[next] == "'" else { return (String(name), value) }
        value.append("'")
        index = rest.index(after: next)
      } else if character == "\\", next < rest.endIndex {
        value.append(rest[next])
        index = rest.index(after: next)
      } else {
        value.append(character)
        index = next
      }
    }
    return nil
  }

  subscript(name: String) -> String? {
    settings.last { $0.name.lowercased() == name.lowercased() }?.value
  }

  /// Sets a value, replacing every earlier one of the name.
  mutating func set(_ name: String, _ value: String) {
    remove(name)
    settings.append(Setting(name: name, value: value))
  }

  mutating func remove(_ name: String) {
    settings.removeAll { $0.name.lowercased() == name.lowercased() }
  }

  /// A file that the server reads back as these settings, with a comment on top.
  func rendered(comment: String) -> String {
    var text = comment.split(separator: "\n").map { "# \($0)\n" }.joined()
    for setting in settings {
      var value = ""
      for character in setting.value {
        if character == "'" || character == "\\" { value.append(character) }
        value.append(character)
      }
      text += "\(setting.name) = '\(value)'\n"
    }
    return text
  }
}
