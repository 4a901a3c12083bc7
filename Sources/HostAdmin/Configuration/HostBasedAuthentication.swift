import FoundationEssentials
package import ReplicationModel

/// The text of a `pg_hba.conf`, and the block that pgconvoy puts on top of it to keep everybody else out.
///
/// The block is the fence on a source and the quarantine of a target alike. It stands in the server's own file, so
/// that any machine can see it and lift it, and the file's other lines stay as they are.
/// <https://www.postgresql.org/docs/15/auth-pg-hba-conf.html>
package struct HostBasedAuthentication: Equatable {
  package static let beginMark = "# pgconvoy fence begin"
  package static let endMark = "# pgconvoy fence end"

  package var text: String

  package init(_ text: String) {
    self.text = text
  }

  /// A subscription, by its database.
  package struct SubscriptionName: Codable, Sendable, Equatable {
    package var database: String
    package var name: String

    package init(database: String, name: String) {
      self.database = database
      self.name = name
    }
  }

  /// One record: its fields, quotes kept.
  package struct Record: Equatable {
    package var type: String
    package var databases: String
    package var users: [String]
    /// Address, mask, method and options, as they stand.
    package var rest: [String]
  }

  /// The records in order; comments, blank lines and include directives are left out.
  package var records: [Record] {
    logicalLines.compactMap { line in
      let fields = Self.fields(of: line)
      guard fields.count >= 4, Self.types.contains(fields[0]) else { return nil }
      return Record(
        type: fields[0], databases: fields[1], users: Self.list(fields[2]), rest: Array(fields[3...]))
    }
  }

  /// A file that this one points to.
  struct Reference: Equatable {
    /// As it stands; a relative path counts from the directory of the file that names it.
    var path: String
    /// All of a directory's `*.conf` files.
    var isDirectory = false
  }

  /// Lists of names (`@file`) and included files, of this file or of one that such a reference leads to.
  /// <https://www.postgresql.org/docs/16/auth-pg-hba-conf.html>
  var references: [Reference] {
    logicalLines.flatMap { line -> [Reference] in
      let fields = Self.fields(of: line)
      if fields.count == 2, ["include", "include_if_exists", "include_dir"].contains(fields[0]) {
        return [Reference(path: Self.unquoted(fields[1]), isDirectory: fields[0] == "include_dir")]
      }
      return fields.flatMap(Self.list).filter { $0.hasPrefix("@") }.map { .init(path: Self.unquoted($0.dropFirst())) }
    }
  }

  private static func unquoted(_ word: some StringProtocol) -> String {
    word.count > 1 && word.hasPrefix("\"") && word.hasSuffix("\"") ? String(word.dropFirst().dropLast()) : String(word)
  }

  private static let types: Set<String> = ["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"]

  package var isFenced: Bool { text.contains(Self.beginMark) }

  /// Whether the block stands on top, whole: nobody has put a record before it, or taken a rejection out.
  package var isKeptOut: Bool {
    guard text.hasPrefix(Self.beginMark) else { return false }
    let block = Self.lines(of: text).prefix { !$0.hasPrefix(Self.endMark) }
    return Self.rejections.allSatisfy { rejection in block.contains { $0.hasPrefix(rejection) } }
  }

  /// What the block says of itself; nil when there is none.
  package var note: String? {
    Self.lines(of: text).first { $0.hasPrefix(Self.beginMark) }.map { line in
      String(line.dropFirst(Self.beginMark.count).drop { $0 == ":" || $0 == " " })
    }
  }

  /// The file without the block of an earlier fence.
  ///
  /// Where someone took the block's last line away, it ends with the last rejection: what follows is the admin's own.
  package var unfenced: HostBasedAuthentication {
    var kept: [String] = []
    var block: [String]?
    for line in Self.lines(of: text) {
      if line.hasPrefix(Self.beginMark) { block = [] }
      if block == nil { kept.append(line) } else { block?.append(line) }
      if line.hasPrefix(Self.endMark) { block = nil }
    }
    if let block {
      let last = block.lastIndex { line in Self.rejections.contains { line.hasPrefix($0) } } ?? 0
      kept += block[(last + 1)...]
    }
    return HostBasedAuthentication(kept.joined(separator: "\n"))
  }

  private static let rejections = [
    "local all all reject", "local replication all reject", "host all all 0.0.0.0/0 reject",
    "host all all ::/0 reject", "host replication all 0.0.0.0/0 reject", "host replication all ::/0 reject",
  ]

  /// By scalars: to `String` a carriage return and a newline are one character, which no newline matches.
  private static func lines(of text: String) -> [String] {
    text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map { String($0) }
  }

  private static let subscriptionMark = "# disabled subscription: "

  /// The subscriptions that the fence has disabled, which whoever lifts it enables again. One to a line, as JSON: a
  /// name may hold anything.
  package var disabledSubscriptions: [SubscriptionName] {
    guard isFenced else { return [] }
    return Self.lines(of: text).prefix { !$0.hasPrefix(Self.endMark) }.compactMap { line in
      guard line.hasPrefix(Self.subscriptionMark) else { return nil }
      let json = Data(line.utf8.dropFirst(Self.subscriptionMark.utf8.count))
      return try? JSONDecoder().decode(SubscriptionName.self, from: json)
    }
  }

  private static func line(_ subscription: SubscriptionName) -> String? {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(subscription)).map { subscriptionMark + String(decoding: $0, as: UTF8.self) }
  }

  /// The file with the block on top: the records that concern the role first, with their methods and those that reject
  /// it, in their order; then a rejection of everyone.
  ///
  /// - Parameters:
  ///   - note: goes into the block's first line, for whoever reads the file.
  ///   - disabled: subscriptions to remember in the block, besides those that it remembers already.
  /// - Throws: `fence.no-own-record` when no record lets the role in: the block would lock pgconvoy out too.
  package func fenced(
    for role: String, note: String, disabling disabled: [SubscriptionName] = []
  ) throws(ConvoyError) -> HostBasedAuthentication {
    let base = unfenced
    let known = disabledSubscriptions
    let records = base.records.filter { $0.concerns(role) }
    let own = records.map { record in
      ([record.type, record.databases, quotedIdentifier(role)] + record.rest).joined(separator: " ")
    }
    guard records.contains(where: { $0.method != "reject" }) else {
      throw ConvoyError(
        "fence.no-own-record", "no record of pg_hba.conf lets role \(role) in, so a fence would lock pgconvoy out too",
        hint: "add a record for that role to pg_hba.conf itself (included files are not looked into)")
    }
    let block =
      ["\(Self.beginMark): \(note)", "# Only role \(role) gets in. pgconvoy put this here and removes it."]
      + (known + disabled.filter { !known.contains($0) }).compactMap(Self.line) + own + Self.rejections + [Self.endMark]
    return HostBasedAuthentication(block.joined(separator: "\n") + "\n" + base.text)
  }

  /// Lines with those that end in a backslash joined to the next, comments cut off.
  private var logicalLines: [String] {
    var lines: [String] = []
    var pending = ""
    for var line in Self.lines(of: text) {
      while line.unicodeScalars.last == "\r" { line.unicodeScalars.removeLast() }
      if line.hasSuffix("\\") {
        pending += line.dropLast()
        continue
      }
      lines.append(pending + line)
      pending = ""
    }
    if !pending.isEmpty { lines.append(pending) }
    return lines
  }

  /// Splits at white space outside quotes; a comma joins what stands around it, spaces or not; `#` outside quotes
  /// ends the line.
  private static func fields(of line: String) -> [String] {
    var fields: [String] = []
    var current = ""
    var isQuoted = false
    var joinsNext = false
    for character in line {
      if isQuoted {
        current.append(character)
        if character == "\"" { isQuoted = false }
      } else if character == "\"" {
        current.append(character)
        isQuoted = true
      } else if character == "#" {
        break
      } else if character == " " || character == "\t" || character == "\r" {
        if !current.isEmpty && !current.hasSuffix(",") {
          if joinsNext, !fields.isEmpty { fields[fields.count - 1] += current } else { fields.append(current) }
          current = ""
          joinsNext = false
        }
      } else {
        if character == "," && current.isEmpty && !fields.isEmpty { joinsNext = true }
        current.append(character)
      }
    }
    if !current.isEmpty {
      if joinsNext, !fields.isEmpty { fields[fields.count - 1] += current } else { fields.append(current) }
    }
    return fields
  }

  private static func list(_ field: String) -> [String] {
    var items: [String] = []
    var current = ""
    var isQuoted = false
    for character in field {
      if character == "\"" { isQuoted.toggle() }
      if character == "," && !isQuoted {
        items.append(current)
        current = ""
      } else {
        current.append(character)
      }
    }
    items.append(current)
    return items.filter { !$0.isEmpty }
  }
}

extension HostBasedAuthentication.Record {
  /// Whether the record may be the one that decides about the role. A group (`+name`), a file (`@name`) or an expression (`/re`) is taken to
  /// be: the block names the role itself, and its method still has to let it in.
  func concerns(_ role: String) -> Bool {
    // A group that is rejected must not keep out a role which is no member of it.
    let groupsCount = method != "reject"
    return users.contains { user in
      if user.hasPrefix("\"") { return user == quotedIdentifier(role) }
      if user == "all" || user == role { return true }
      return groupsCount && (user.hasPrefix("+") || user.hasPrefix("@") || user.hasPrefix("/"))
    }
  }

  /// The authentication method: after the address, and after the mask where there is one.
  package var method: String? {
    if type == "local" { return rest.first }
    guard rest.count >= 2 else { return nil }
    let looksLikeMask =
      rest[1].allSatisfy { $0.isHexDigit || $0 == "." || $0 == ":" } && rest[1].contains { ".:".contains($0) }
    return looksLikeMask && rest.count >= 3 ? rest[2] : rest[1]
  }
}
