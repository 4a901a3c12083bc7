import Glibc

/// Remembers where each value of one host or migration came from.
final class OriginRecorder {
  private(set) var origins: [String: Origin] = [:]

  func record(_ key: String, _ origin: Origin) {
    origins[key] = origin
  }
}

/// One mapping seen through its layers, the nearest first: the host's or migration's own, then that of `defaults`.
struct Layers {
  /// What the keys are called in origins: `postgres.`, or nothing.
  let prefix: String
  let layers: [YAMLFields]
  let problems: YAMLProblems
  let origins: OriginRecorder

  /// The nearest layer's entry.
  func entry(_ key: String) -> YAMLEntry? {
    for layer in layers {
      if let entry = layer[key] { return entry }
    }
    return nil
  }

  /// A value that may stay unset.
  func optional<Value>(_ key: String, _ read: (YAMLEntry) -> Value?) -> Value? {
    guard let entry = entry(key) else {
      origins.record(prefix + key, .builtIn)
      return nil
    }
    origins.record(prefix + key, .file(entry.value.place))
    return read(entry)
  }

  /// A value with a default. After an error the default stands in; nothing is compared then.
  func value<Value>(_ key: String, default fallback: Value, _ read: (YAMLEntry) -> Value?) -> Value {
    optional(key, read) ?? fallback
  }

  /// A mapping inside this one, layer by layer.
  func inner(_ key: String, keys: [String]) -> Layers {
    let inner = layers.compactMap { layer in
      layer[key].flatMap { problems.fields($0, of: "\(key) of \(layer.subject)", keys: keys) }
    }
    return Layers(prefix: "\(prefix)\(key).", layers: inner, problems: problems, origins: origins)
  }
}

/// Paths as an inventory may write them.
struct PathRules {
  /// The inventory file's directory, absolute.
  let base: String
  let home: String

  init(inventoryPath: String, home: String) {
    let directory = inventoryPath.lastIndex(of: "/").map { String(inventoryPath[..<$0]) } ?? "."
    let absolute = inventoryPath.hasPrefix("/") ? directory : "\(Self.workingDirectory())/\(directory)"
    base = Self.normal(absolute)
    self.home = home
  }

  /// A path on this machine: `~` is HOME, anything relative starts at the inventory file's directory.
  func local(_ entry: YAMLEntry, _ problems: YAMLProblems) -> String? {
    guard let text = problems.string(entry) else { return nil }
    if text == "~" { return home }
    if text.hasPrefix("~/") { return Self.normal(home + text.dropFirst()) }
    if text.hasPrefix("~") {
      problems.add(
        "bad-path", "\(entry.key) names another user's home, '\(text)'", at: entry.value.place,
        hint: "only ~/ is expanded; write the whole path")
      return nil
    }
    return Self.normal(text.hasPrefix("/") ? text : "\(base)/\(text)")
  }

  /// A path on a host: absolute, since nothing says what it would be relative to. Without a slash at its end: names are
  /// made of it.
  func remote(_ entry: YAMLEntry, _ problems: YAMLProblems) -> String? {
    guard let text = problems.string(entry) else { return nil }
    guard text.hasPrefix("/") else {
      problems.add(
        "bad-path", "\(entry.key) must be an absolute path on the host, not '\(text)'", at: entry.value.place,
        hint: "write the whole path, from /")
      return nil
    }
    return Self.normal(text)
  }

  /// The path without `.` components and doubled slashes; `..` stays, since links may stand before it.
  static func normal(_ path: String) -> String {
    let parts = path.split(separator: "/").filter { $0 != "." }
    return "/" + parts.joined(separator: "/")
  }
}

extension PathRules {
  static func workingDirectory() -> String {
    guard let pointer = getcwd(nil, 0) else { return "/" }
    defer { free(pointer) }
    return String(cString: pointer)
  }
}
