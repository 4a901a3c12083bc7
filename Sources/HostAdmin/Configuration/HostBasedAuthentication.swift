import FoundationEssentials
import RemoteHost
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
  /// Where it stands; empty where that does not matter.
  let path: String

  package init(_ text: String, path: String = "") {
    self.text = text
    self.path = path
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

  /// One record.
  package struct Record: Equatable {
    package var type: String
    var databases: [HBALine.Token]
    var users: [HBALine.Token]
    /// Address, mask, method and options, as they stand.
    package var rest: [String]
    /// Of the file that it stands in.
    var directory: String
  }

  private static let types: Set<String> = ["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"]
  private static let includes = ["include", "include_if_exists", "include_dir"]

  /// The records in the order in which the server goes through them, with those of included files; comments and what is
  /// no record are left out.
  func records(_ role: HBARole, depth: Int = 0) -> [Record] {
    let directory = HBAFiles.directory(of: path)
    return HBALine.all(of: text, serverVersion: role.serverVersion).flatMap { line -> [Record] in
      if let (reference, _) = Self.include(line), role.serverVersion >= 160000 {
        guard depth < 10 else { return [] }
        let path = HBAFiles.path(reference.path, in: directory)
        let paths = reference.isDirectory ? role.files.directories[path] ?? [] : [path]
        return paths.flatMap { path in
          role.files.texts[path].map { Self($0, path: path).records(role, depth: depth + 1) } ?? []
        }
      }
      let fields = line.fields
      guard fields.count >= 4, fields[0].count == 1, Self.types.contains(fields[0][0].value) else { return [] }
      let rest = fields[3...].map { $0.map(\.raw).joined(separator: ",") }
      return [
        Record(type: fields[0][0].value, databases: fields[1], users: fields[2], rest: rest, directory: directory)
      ]
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
  var references: [Reference] { references(160000) }

  func references(_ serverVersion: Int) -> [Reference] {
    HBALine.all(of: text, serverVersion: serverVersion).flatMap { line -> [Reference] in
      if let (reference, _) = Self.include(line) { return [reference] }
      return line.fields.flatMap { $0 }.compactMap(\.file).map { Reference(path: $0) }
    }
  }

  private static func include(_ line: HBALine) -> (Reference, word: String)? {
    guard line.fields.count == 2, line.fields.allSatisfy({ $0.count == 1 }),
      let word = includes.first(where: { line.fields[0][0].value == $0 })
    else { return nil }
    return (Reference(path: line.fields[1][0].value, isDirectory: word == "include_dir"), word)
  }

  /// The regular expressions that stand for users, here and in what this file points to.
  func expressions(_ role: HBARole) -> [String] {
    let lists = role.files.texts.values.flatMap { HBALine.names(in: $0) }
    return (records(role).flatMap(\.users) + lists).compactMap(\.expression)
  }

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
    return HostBasedAuthentication(kept.joined(separator: "\n"), path: path)
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

  private static let proofBegins = "pgconvoy_fence_"

  /// Stands for no database, and for this very text of the file: who connects to it is refused by `pg_hba.conf` as long as
  /// the text is in force, and not when another one is. Nil where there is no block, or one without such a name.
  package var proof: String? {
    guard isFenced else { return nil }
    let marker = "local " + Self.proofBegins
    for line in Self.lines(of: text).prefix(while: { !$0.hasPrefix(Self.endMark) }) where line.hasPrefix(marker) {
      return String(line.dropFirst("local ".count).prefix { $0 != " " })
    }
    return nil
  }

  /// The file with the block on top: the records that mean the role first, with their methods and those that reject it, in
  /// their order, each for it alone; then a rejection of everyone. So whatever decided about a login of the role decides
  /// about it in the same way, and nobody else has a record that lets in.
  ///
  /// - Parameters:
  ///   - note: goes into the block's first line, for whoever reads the file.
  ///   - disabled: subscriptions to remember in the block, besides those that it remembers already.
  /// - Throws: `fence.no-own-record` when no record lets the role in: the block would lock pgconvoy out too.
  ///   `fence.unclear-record` when it cannot be told whether a record means the role.
  package func fenced(
    for role: HBARole, note: String, disabling disabled: [SubscriptionName] = []
  ) throws(ConvoyError) -> HostBasedAuthentication {
    let base = unfenced
    let known = disabledSubscriptions
    let own = try base.ownRecords(role)
    guard own.contains(where: { $0.method != "reject" }) else {
      throw ConvoyError(
        "fence.no-own-record",
        "no record of pg_hba.conf lets role \(role.name) in, so a fence would lock pgconvoy out too",
        hint: "add a record for that role to pg_hba.conf")
    }
    let head =
      ["\(Self.beginMark): \(note)", "# Only role \(role.name) gets in. pgconvoy put this here and removes it."]
      + (known + disabled.filter { !known.contains($0) }).compactMap(Self.line)
    let directory = HBAFiles.directory(of: path)
    let body = own.map { $0.line(for: role.name, in: directory) } + Self.rejections + [Self.endMark]
    let digest = sha256(ByteText.bytes((head + body + [base.text]).joined(separator: "\n")))
    let proof =
      Self.proofBegins + digest.prefix(8).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    let proving = ["local \(proof) all reject", "host \(proof) all all reject"]
    return HostBasedAuthentication((head + proving + body).joined(separator: "\n") + "\n" + base.text, path: path)
  }

  private func ownRecords(_ role: HBARole) throws(ConvoyError) -> [Record] {
    var own: [Record] = []
    for record in records(role) {
      guard let isMeant = role.isMeant(by: record.users, in: record.directory) else {
        throw ConvoyError(
          "fence.unclear-record",
          "whether this record of pg_hba.conf means role \(role.name) cannot be told: \(record.line)",
          hint: "make the list that it refers to readable, or name the roles in the record itself")
      }
      if isMeant { own.append(record) }
    }
    return own
  }
}

extension HostBasedAuthentication.Record {
  /// The record for one role alone, as it has to stand in a file of that directory.
  func line(for role: String, in other: String) -> String {
    let databases = databases.map { token in
      guard directory != other, let file = token.file else { return token.raw }
      return "@\(quotedIdentifier(HBAFiles.path(file, in: directory)))"
    }
    return ([type, databases.joined(separator: ","), quotedIdentifier(role)] + rest).joined(separator: " ")
  }

  /// As it stands.
  var line: String {
    ([type, databases.map(\.raw).joined(separator: ","), users.map(\.raw).joined(separator: ",")] + rest)
      .joined(separator: " ")
  }

  /// The authentication method: after the address, and after the mask where there is one.
  package var method: String? {
    let rest = rest.map { $0.replacing("\"", with: "") }
    if type == "local" { return rest.first }
    guard rest.count >= 2 else { return nil }
    let looksLikeMask =
      rest[1].allSatisfy { $0.isHexDigit || $0 == "." || $0 == ":" } && rest[1].contains { ".:".contains($0) }
    return looksLikeMask && rest.count >= 3 ? rest[2] : rest[1]
  }
}
