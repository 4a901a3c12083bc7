import ReplicationModel

/// The text of a `pg_hba.conf`, and the block that pgconvoy puts on top of it to keep everybody else out.
///
/// The block is the fence on a source and the quarantine of a target alike. It stands in the server's own file, so
/// that any machine can see it and lift it, and the file's other lines stay as they are.
/// <https://www.postgresql.org/docs/15/auth-pg-hba-conf.html>
struct HostBasedAuthentication: Equatable {
  static let beginMark = "# pgconvoy fence begin"
  static let endMark = "# pgconvoy fence end"

  var text: String

  init(_ text: String) {
    self.text = text
  }

  /// One record: its fields, quotes kept.
  struct Record: Equatable {
    var type: String
    var databases: String
    var users: [String]
    /// Address, mask, method and options, as they stand.
    var rest: [String]
  }

  /// The records in order; comments, blank lines and include directives are left out.
  var records: [Record] {
    logicalLines.compactMap { line in
      let fields = Self.fields(of: line)
      guard fields.count >= 4, Self.types.contains(fields[0]) else { return nil }
      return Record(
        type: fields[0], databases: fields[1], users: Self.list(fields[2]), rest: Array(fields[3...]))
    }
  }

  private static let types: Set<String> = ["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"]

  var isFenced: Bool { text.contains(Self.beginMark) }

  /// The file without the block of an earlier fence.
  var unfenced: HostBasedAuthentication {
    var kept: [Substring] = []
    var isInside = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix(Self.beginMark) { isInside = true }
      if !isInside { kept.append(line) }
      if line.hasPrefix(Self.endMark) { isInside = false }
    }
    return HostBasedAuthentication(kept.joined(separator: "\n"))
  }

  /// The file with the block on top: the role's own records first, with their methods, then a rejection of everyone.
  ///
  /// - Parameter note: goes into the block's first line, for whoever reads the file.
  /// - Throws: `fence.no-own-record` when no record lets the role in: the block would lock pgconvoy out too.
  func fenced(for role: String, note: String) throws(ConvoyError) -> HostBasedAuthentication {
    let base = unfenced
    let own = base.records.filter { $0.admits(role) }.map { record in
      ([record.type, record.databases, quotedIdentifier(role)] + record.rest).joined(separator: " ")
    }
    guard !own.isEmpty else {
      throw ConvoyError(
        "fence.no-own-record", "no record of pg_hba.conf lets role \(role) in, so a fence would lock pgconvoy out too",
        hint: "add a record for that role to pg_hba.conf itself (included files are not looked into)")
    }
    let block =
      ["\(Self.beginMark): \(note)", "# Only role \(role) gets in. pgconvoy put this here and removes it."]
      + own
      + [
        "local all all reject", "local replication all reject",
        "host all all 0.0.0.0/0 reject", "host all all ::/0 reject",
        "host replication all 0.0.0.0/0 reject", "host replication all ::/0 reject",
        Self.endMark,
      ]
    return HostBasedAuthentication(block.joined(separator: "\n") + "\n" + base.text)
  }

  /// Lines with those that end in a backslash joined to the next, comments cut off.
  private var logicalLines: [String] {
    var lines: [String] = []
    var pending = ""
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasSuffix("\\") {
        pending += line.dropLast() + " "
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
  /// Whether the record may admit the role. A group (`+name`), a file (`@name`) or an expression (`/re`) is taken to
  /// do so: the block names the role itself, and its method still has to let it in.
  func admits(_ role: String) -> Bool {
    guard rest.last.map({ !$0.isEmpty }) ?? false, method != "reject" else { return false }
    return users.contains { user in
      if user.hasPrefix("\"") { return user == quotedIdentifier(role) }
      return user == "all" || user == role || user.hasPrefix("+") || user.hasPrefix("@") || user.hasPrefix("/")
    }
  }

  /// The authentication method: after the address, and after the mask where there is one.
  var method: String? {
    if type == "local" { return rest.first }
    guard rest.count >= 2 else { return nil }
    let looksLikeMask = rest[1].allSatisfy { $0.isHexDigit || $0 == "." || $0 == ":" } && rest[1].contains { ".:".contains($0) }
    return looksLikeMask && rest.count >= 3 ? rest[2] : rest[1]
  }
}
