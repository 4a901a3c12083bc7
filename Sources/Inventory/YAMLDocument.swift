import Glibc
import ReplicationModel
import Yams

/// Reads YAML text into values with places. The only code that knows Yams.
public enum YAMLDocument {
  /// The most values that one file may hold once its aliases are resolved; a bound against files that name
  /// themselves over and over.
  static let valueLimit = 500_000

  /// Reads a file. `path` is also what messages call it.
  ///
  /// Throws `yaml.unreadable`, or what `parse` throws.
  public static func read(path: String) throws(InputErrors) -> YAMLValue {
    let bytes: [UInt8]
    do throws(SystemFailure) {
      bytes = try contents(of: path)
    } catch {
      throw InputErrors(
        ConvoyError("yaml.unreadable", "cannot read the file: \(error.reason)", at: .path(path), kind: .usage))
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw InputErrors(
        ConvoyError(
          "yaml.unreadable", "the file is not UTF-8 text", at: .path(path), hint: "save it as UTF-8", kind: .usage))
    }
    return try parse(text, path: path)
  }

  /// Reads one YAML document.
  ///
  /// Throws `yaml.syntax`, `yaml.duplicate-key`, `yaml.empty`, `yaml.bad-key` or `yaml.too-large`, each with its
  /// line and column.
  public static func parse(_ text: String, path: String) throws(InputErrors) -> YAMLValue {
    let text = text.hasPrefix("\u{FEFF}") ? String(text.dropFirst()) : text
    do throws(ConvoyError) {
      guard let root = try compose(text, path: path) else { throw empty(path) }
      var converter = NodeConverter(path: path)
      let value = try converter.value(root)
      if value.isNull { throw empty(path) }
      return value
    } catch {
      throw InputErrors(error)
    }
  }

  private static func empty(_ path: String) -> ConvoyError {
    ConvoyError("yaml.empty", "the file is empty", at: .file(path: path, line: 1, column: 1), kind: .usage)
  }

  private static func compose(_ text: String, path: String) throws(ConvoyError) -> Node? {
    do {
      // The basic resolver leaves every scalar a string, so keys that read the same are the same.
      return try Yams.compose(yaml: text, .basic, .default, .utf8)
    } catch YamlError.duplicatedKeysInMapping(let duplicates, let context) {
      let first = SourcePlace(path: path, line: context.mark.line, column: context.mark.column)
      throw duplicateKey(
        duplicates.first ?? "", first: first, second: repetition(of: first, in: text, path: path) ?? first)
    } catch let error as YamlError {
      throw syntaxError(error, text: text, path: path)
    } catch {
      throw ConvoyError("yaml.syntax", "not valid YAML: \(error)", at: .path(path), kind: .usage)
    }
  }

  static func duplicateKey(_ key: String, first: SourcePlace, second: SourcePlace) -> ConvoyError {
    ConvoyError(
      "yaml.duplicate-key", "key '\(key)' is set twice", at: second.errorPlace,
      hint: "it is set first in line \(first.line); keep one of the two", kind: .usage)
  }

  /// Where a key is set again that is first set at `first`: Yams tells the first place only. The key is renamed
  /// there, in a copy of the text and without moving anything, and the text is read again: then either the second
  /// of three is told as a duplicate, or the mapping with the renamed key holds the other one.
  private static func repetition(of first: SourcePlace, in text: String, path: String) -> SourcePlace? {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.indices.contains(first.line - 1) else { return nil }
    var scalars = Array(lines[first.line - 1].unicodeScalars)
    var index = first.column - 1
    if scalars.indices.contains(index), scalars[index] == "\"" || scalars[index] == "'" { index += 1 }
    guard scalars.indices.contains(index) else { return nil }
    let initial = scalars[index]
    scalars[index] = "\u{E000}"
    var line = String.UnicodeScalarView()
    line.append(contentsOf: scalars)
    lines[first.line - 1] = String(line)
    do {
      guard let root = try Yams.compose(yaml: lines.joined(separator: "\n"), .basic, .default, .utf8) else {
        return nil
      }
      return repetition(of: initial, under: root, path: path)
    } catch YamlError.duplicatedKeysInMapping(_, let context) {
      return SourcePlace(path: path, line: context.mark.line, column: context.mark.column)
    } catch {
      return nil
    }
  }

  private static func repetition(of initial: Unicode.Scalar, under node: Node, path: String) -> SourcePlace? {
    switch node {
    case .mapping(let mapping):
      let keys = mapping.map(\.key)
      if let renamed = keys.compactMap({ $0.scalar?.string }).first(where: { $0.hasPrefix("\u{E000}") }) {
        let original = String(initial) + renamed.dropFirst()
        let mark = keys.first { $0.scalar?.string == original }?.mark
        return mark.map { SourcePlace(path: path, line: $0.line, column: $0.column) }
      }
      for (key, value) in mapping {
        if let found = repetition(of: initial, under: key, path: path)
          ?? repetition(of: initial, under: value, path: path)
        {
          return found
        }
      }
      return nil
    case .sequence(let sequence):
      for element in sequence {
        if let found = repetition(of: initial, under: element, path: path) { return found }
      }
      return nil
    case .scalar, .alias:
      return nil
    }
  }

  private static func syntaxError(_ error: YamlError, text: String, path: String) -> ConvoyError {
    func failure(_ problem: String, line: Int, column: Int) -> ConvoyError {
      let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
      var hint: String?
      if lines.indices.contains(line - 1) {
        let scalars = lines[line - 1].unicodeScalars.prefix(column)
        if scalars.last == "\t" || scalars.first == "\t" { hint = "indent with spaces, YAML takes no tabs" }
      }
      return ConvoyError(
        "yaml.syntax", "not valid YAML: \(problem)", at: .file(path: path, line: line, column: column), hint: hint,
        kind: .usage)
    }
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let about = context.map { "\($0.text.trimmingSpaces), " } ?? ""
      return failure(about + problem.trimmingSpaces, line: mark.line, column: mark.column)
    case .reader(let problem, let offset, _, _):
      let before = text.prefix(offset ?? 0)
      let line = before.split(separator: "\n", omittingEmptySubsequences: false)
      return failure(problem.trimmingSpaces, line: line.count, column: (line.last?.unicodeScalars.count ?? 0) + 1)
    default:
      return ConvoyError("yaml.syntax", "not valid YAML: \(error)", at: .path(path), kind: .usage)
    }
  }
}

/// Turns Yams' nodes into values: places, merge keys, and keys that are plain names.
private struct NodeConverter {
  let path: String
  var count = 0

  init(path: String) {
    self.path = path
  }

  mutating func value(_ node: Node) throws(ConvoyError) -> YAMLValue {
    let place = place(node)
    count += 1
    if count > YAMLDocument.valueLimit {
      throw ConvoyError(
        "yaml.too-large", "the file holds more than \(YAMLDocument.valueLimit) values", at: place.errorPlace,
        kind: .usage)
    }
    switch node {
    case .scalar(let scalar):
      let isPlain = scalar.style == .plain || scalar.style == .any
      return YAMLValue(.scalar(text: scalar.string, isPlain: isPlain), at: place)
    case .sequence(let sequence):
      var values: [YAMLValue] = []
      for element in sequence { values.append(try value(element)) }
      return YAMLValue(.sequence(values), at: place)
    case .mapping(let mapping):
      return YAMLValue(.mapping(try entries(mapping)), at: place)
    case .alias:
      throw ConvoyError(
        "yaml.syntax", "not valid YAML: an alias without its anchor", at: place.errorPlace, kind: .usage)
    }
  }

  private func place(_ node: Node) -> SourcePlace {
    SourcePlace(path: path, line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
  }

  private mutating func entries(_ mapping: Node.Mapping) throws(ConvoyError) -> [YAMLEntry] {
    var entries: [YAMLEntry] = []
    var known: [String: SourcePlace] = [:]
    var merged: [YAMLEntry] = []
    for (keyNode, valueNode) in mapping {
      let keyPlace = place(keyNode)
      guard let key = keyNode.scalar else {
        throw ConvoyError("yaml.bad-key", "a key must be a plain name", at: keyPlace.errorPlace, kind: .usage)
      }
      if key.string == "<<", key.style == .plain || key.style == .any {
        merged += try mergedEntries(value(valueNode), keyPlace: keyPlace)
        continue
      }
      if let first = known[key.string] {
        throw YAMLDocument.duplicateKey(key.string, first: first, second: keyPlace)
      }
      known[key.string] = keyPlace
      entries.append(YAMLEntry(key: key.string, place: keyPlace, value: try value(valueNode)))
    }
    // What is written in the mapping itself wins, then the merges in their order.
    for entry in merged where known[entry.key] == nil {
      known[entry.key] = entry.place
      entries.append(entry)
    }
    return entries
  }

  private func mergedEntries(_ value: YAMLValue, keyPlace: SourcePlace) throws(ConvoyError) -> [YAMLEntry] {
    switch value.content {
    case .mapping(let entries):
      return entries
    case .sequence(let elements):
      var all: [YAMLEntry] = []
      for element in elements {
        guard case .mapping(let entries) = element.content else { throw notMergeable(keyPlace) }
        all += entries
      }
      return all
    case .scalar:
      throw notMergeable(keyPlace)
    }
  }

  private func notMergeable(_ place: SourcePlace) -> ConvoyError {
    ConvoyError(
      "yaml.bad-merge", "'<<' takes a mapping, or a list of mappings", at: place.errorPlace, kind: .usage)
  }
}

extension String {
  fileprivate var trimmingSpaces: String {
    let start = drop { $0 == " " }
    return String(start.reversed().drop { $0 == " " }.reversed())
  }
}

/// Why a system call failed, in the C library's words, lowercase.
struct SystemFailure: Error {
  var reason: String

  init(errno number: Int32) {
    let text = String(cString: strerror(number))
    reason = text.prefix(1).lowercased() + text.dropFirst()
  }
}

/// A whole file's bytes.
func contents(of path: String) throws(SystemFailure) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw SystemFailure(errno: errno) }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    if count == 0 { return bytes }
    if count < 0 {
      if errno == EINTR { continue }
      throw SystemFailure(errno: errno)
    }
    bytes += buffer[..<count]
  }
}
