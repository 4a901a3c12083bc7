package import PostgresClient

/// A role as the records of a `pg_hba.conf` may mean it: asked of the server and its host before the file is judged.
package struct HBARole: Sendable, Equatable {
  package var name: String
  /// Those that `+group` means it by: all that it is a member of, through others too, and itself.
  package var groups: Set<String>
  /// As `server_version_num`.
  package var serverVersion: Int
  /// Regular expressions, each with whether the name matches it.
  package var expressions: [String: Bool] = [:]
  /// The files that the file points to.
  package var files = HBAFiles()

  package init(_ name: String, groups: Set<String> = [], serverVersion: Int = 150000) {
    self.name = name
    self.groups = groups.union([name])
    self.serverVersion = serverVersion
  }

  /// A superuser is no member of what it was not made a member of.
  private static let memberships = """
    WITH RECURSIVE memberships (oid) AS (
      SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1
      UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN memberships g ON m.member = g.oid)
    SELECT r.rolname FROM pg_catalog.pg_roles r JOIN memberships USING (oid)
    """

  /// - Parameter session: to the server whose roles count.
  package static func ask(_ name: String, _ session: PostgresSession) async throws -> HBARole {
    let groups = try await session.query(memberships, [name]).rows.map { $0.string(0) }
    return HBARole(name, groups: Set(groups), serverVersion: await session.serverVersion)
  }

  /// The same, for a file with all that it points to.
  package func facing(_ file: HBAFile, _ session: PostgresSession) async throws -> HBARole {
    var role = self
    let text = try await file.read().text
    role.files = try await file.filesBeside(text, serverVersion: serverVersion)
    guard serverVersion >= 160000 else { return role }
    for expression in HostBasedAuthentication(text).expressions(role) {
      // One that the server refuses is a broken line, which is found elsewhere.
      let matches = try? await session.query(
        "SELECT $1::text COLLATE \"C\" OPERATOR(pg_catalog.~) $2::text", [name, expression]
      ).first
      if let matches { role.expressions[expression] = matches == "t" }
    }
    return role
  }

  /// Whether a record with these users may be the one that decides about the role; nil where that cannot be told.
  ///
  /// - Parameter directory: of the file that the record stands in.
  func isMeant(by users: [HBALine.Token], in directory: String, depth: Int = 0) -> Bool? {
    var isUnclear = false
    for user in users {
      var isMeant: Bool? = user.isKeyword("all") || user.value == name
      if let group = user.group {
        isMeant = groups.contains(group)
      } else if serverVersion >= 160000, let expression = user.expression {
        isMeant = expressions[expression]
      } else if let file = user.file {
        let path = HBAFiles.path(file, in: directory)
        isMeant = files.texts[path].flatMap { text in
          depth > 9
            ? nil : self.isMeant(by: HBALine.names(in: text), in: HBAFiles.directory(of: path), depth: depth + 1)
        }
      }
      if isMeant == true { return true }
      if isMeant == nil { isUnclear = true }
    }
    return isUnclear ? nil : false
  }
}

extension HBARole: ExpressibleByStringLiteral {
  /// A role that is a member of nothing.
  package init(stringLiteral name: String) { self.init(name) }
}

extension HBALine {
  /// What stands in a file that `@file` names: every name of it.
  static func names(in text: String) -> [Token] {
    all(of: text, serverVersion: 140000).flatMap { $0.fields.flatMap { $0 } }
  }
}

/// The files that a `pg_hba.conf` points to, directly or not.
package struct HBAFiles: Sendable, Equatable {
  /// By their absolute paths.
  package var texts: [String: String] = [:]
  /// Those of an included directory that count, in the order in which they are read.
  package var directories: [String: [String]] = [:]

  package init() {}

  static func path(_ path: String, in directory: String) -> String {
    path.hasPrefix("/") ? path : directory + "/" + path
  }

  static func directory(of path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
  }
}
