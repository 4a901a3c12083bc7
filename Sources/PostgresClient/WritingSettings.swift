public import BlockingIO

/// The settings under which an application's rows are written to one database: what index expressions, generated columns,
/// CHECK constraints and the functions in them may go by.
///
/// They are those of a session that somebody else opens there, by what the server, the database and, where one role owns
/// all of its tables and may log in, this role have set. What a session sets for itself cannot be known.
///
/// Not among them is what the text of values is read by. Under `canonicalTextSettings` every type prints its values so
/// that they are read as the same under any `TimeZone`, `DateStyle`, `IntervalStyle` and `bytea_output`; but not `money`
/// under another `lc_monetary`, a fragment of XML under another `xmloption`, a null in an array under another `array_nulls`.
public struct WritingSettings: Sendable, Equatable {
  /// By name, as the server spells it.
  public var values: [String: String]

  public init(_ values: [String: String] = [:]) { self.values = values }

  /// What changes the result of an expression, and any session may set.
  public static let names = [
    "backslash_quote", "bytea_output", "DateStyle", "default_text_search_config", "default_toast_compression",
    "extra_float_digits", "IntervalStyle", "lc_numeric", "lc_time", "quote_all_identifiers", "search_path",
    "standard_conforming_strings", "TimeZone", "timezone_abbreviations", "transform_null_equals", "xmlbinary",
  ]

  /// A session of the server that is asked, with none of these settings pinned.
  public static func read(_ parameters: ConnectionParameters) throws(PostgresError) -> WritingSettings {
    let connection = try PostgresConnection.connect(unpinned(parameters))
    defer { connection.close() }
    return WritingSettings(try connection.query(question, until: .after(.seconds(30))))
  }

  /// Settings that change what the same statements come to, on this server or on another.
  public static let namesOfResults =
    names + [
      "array_nulls", "default_transaction_deferrable", "default_transaction_isolation", "default_transaction_read_only",
      "lc_messages", "lc_monetary", "lo_compat_privileges", "row_security", "session_replication_role", "xmloption",
    ]

  /// As `read`, for async callers.
  public static func ask(_ parameters: ConnectionParameters) async throws -> WritingSettings {
    try await ask(parameters, question)
  }

  /// What the server itself gives to every session, of `namesOfResults`.
  public static func askServer(_ parameters: ConnectionParameters) async throws -> WritingSettings {
    try await ask(parameters, serverQuestion)
  }

  private static func ask(_ parameters: ConnectionParameters, _ question: String) async throws -> WritingSettings {
    let session = try await PostgresSession.connect(unpinned(parameters))
    do {
      let settings = WritingSettings(try await session.query(question, within: .seconds(30)))
      await session.close()
      return settings
    } catch {
      await session.close()
      throw error
    }
  }

  private static func unpinned(_ parameters: ConnectionParameters) -> ConnectionParameters {
    var parameters = parameters
    parameters.settings = [
      "client_encoding": "UTF8", "role": "none", "statement_timeout": "0", "lock_timeout": "0",
      "idle_in_transaction_session_timeout": "0",
    ]
    parameters.unpinned = Set(namesOfResults)
    return parameters
  }

  /// Names and values; the name of the role that owns all tables comes as that of `$user`.
  ///
  /// Where our own role, or our environment, has set something, the next level says what others have. Settings with a dot
  /// in their names are nowhere listed but where they were set.
  private static let question = """
    WITH owner AS (
      SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r
       WHERE r.rolcanlogin AND r.oid = (
               SELECT pg_catalog.min(c.relowner) FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 AND n.nspname !~ '^(pg_|pgconvoy_|information_schema$)'
                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
               HAVING pg_catalog.count(DISTINCT c.relowner) = 1)
    ), given AS (
      SELECT pg_catalog.split_part(item, '=', 1) AS name,
             pg_catalog.substr(item, pg_catalog.strpos(item, '=') + 1) AS value,
             CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN 1 WHEN s.setrole <> 0 THEN 2
                  WHEN s.setdatabase <> 0 THEN 3 ELSE 4 END AS rank
        FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS item
       WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
         AND s.setrole IN (0, coalesce((SELECT oid FROM owner), 0))
      UNION ALL
      (SELECT DISTINCT ON (name) name, setting, 5 FROM pg_catalog.pg_file_settings
        WHERE applied AND setting IS NOT NULL ORDER BY name, seqno DESC)
    ), best AS (
      SELECT DISTINCT ON (pg_catalog.lower(name)) name, value, rank FROM given ORDER BY pg_catalog.lower(name), rank
    )
    SELECT s.name, CASE WHEN b.rank <= 2 THEN b.value
                        WHEN s.source IN ('client', 'user', 'database user', 'session', 'interactive')
                        THEN coalesce(b.value, s.boot_val) ELSE s.setting END
      FROM pg_catalog.pg_settings s LEFT JOIN best b ON pg_catalog.lower(b.name) = pg_catalog.lower(s.name)
     WHERE s.name IN (\(names.map { "'\($0)'" }.joined(separator: ", ")))
    UNION ALL
    SELECT b.name, b.value FROM best b
     WHERE b.name LIKE '%.%' AND b.name NOT LIKE 'pgconvoy%' AND NOT EXISTS (
             SELECT FROM pg_catalog.pg_settings s
              WHERE pg_catalog.lower(s.name) = pg_catalog.lower(b.name) AND s.context NOT IN ('user', 'superuser'))
    UNION ALL
    SELECT '$user', rolname FROM owner
    """

  private static let serverQuestion = """
    SELECT s.name,
           CASE WHEN s.source IN ('client', 'global', 'database', 'user', 'database user', 'session', 'interactive')
                THEN coalesce((SELECT f.setting FROM pg_catalog.pg_file_settings f
                                WHERE f.applied AND pg_catalog.lower(f.name) = pg_catalog.lower(s.name)
                                ORDER BY f.seqno DESC LIMIT 1), s.boot_val)
                ELSE s.setting END
      FROM pg_catalog.pg_settings s WHERE s.name IN (\(namesOfResults.map { "'\($0)'" }.joined(separator: ", ")))
    """

  /// What differs, for a person: `TimeZone ('Asia/Tokyo', 'UTC')`.
  public func differences(from other: WritingSettings) -> [String] {
    values.sorted { $0.key < $1.key }.compactMap { name, value in
      guard let theirs = other.values[name], theirs != value else { return nil }
      return "\(name) ('\(value)', '\(theirs)')"
    }
  }

  private init(_ result: QueryResult) {
    var found: [String: String] = [:]
    for row in result.rows { if let value = row[1] { found[row.string(0)] = value } }
    let user = found.removeValue(forKey: "$user")
    if let path = found["search_path"] { found["search_path"] = Self.path(path, user: user) }
    values = found
  }

  /// Asks for the search_path that the database gives to its sessions, in one that has another.
  public static let pathQuestion = "SELECT setting FROM (\(question)) AS s (name, setting) WHERE name = 'search_path'"

  /// A search_path for sessions that run statements of their own too: `pg_catalog` comes first, as it does where a path
  /// does not name it. `$user` is who owns the tables, where that is one role.
  public static func path(_ text: String, user: String?) -> String {
    elements(text).filter { $0 != "pg_catalog" }.map { element in
      "\""
        + (element == "$user" ? user ?? element : element).split(separator: "\"", omittingEmptySubsequences: false)
        .joined(separator: "\"\"") + "\""
    }.joined(separator: ", ")
  }

  /// The names of a path: what stands in double quotes as it is, the rest in lower case.
  private static func elements(_ text: String) -> [String] {
    var elements: [String] = []
    var element = ""
    var isQuoted = false
    var wasQuoted = false
    func end() {
      if wasQuoted || !element.isEmpty { elements.append(element) }
      element = ""
      wasQuoted = false
    }
    var previous: Character?
    for character in text {
      switch character {
      case "\"":
        if !isQuoted, previous == "\"" { element.append("\"") }
        isQuoted.toggle()
        wasQuoted = true
      case ",": if isQuoted { element.append(",") } else { end() }
      case " ", "\t", "\n": if isQuoted { element.append(character) }
      default: element += isQuoted ? String(character) : character.lowercased()
      }
      previous = character
    }
    end()
    return elements
  }

  fileprivate static func mayBeUnknown(_ name: String) -> Bool {
    name.contains(".") || name.hasPrefix("lc_")
      || ["default_text_search_config", "default_toast_compression", "timezone_abbreviations"].contains(name)
  }

  /// The statement that sets these in a session, all at once, and its parameters.
  public var statement: (sql: String, values: [String?]) { Self.statement(values) }

  /// For statements of our own amid an application's settings: text is printed and read as everywhere else.
  public static let reading = WritingSettings(
    canonicalTextSettings.filter { names.contains($0.key) }.merging(
      ["standard_conforming_strings": "on", "transform_null_equals": "off"]) { $1 })

  /// What is to be set again behind `reading`.
  public var behindReading: WritingSettings { WritingSettings(values.filter { Self.reading.values[$0.key] != nil }) }

  private static func statement(_ values: [String: String]) -> (sql: String, values: [String?]) {
    let sorted = values.sorted { $0.key < $1.key }
    // Whatever the session's client encoding is: a worker's is that of the database.
    let calls = sorted.indices.map {
      "pg_catalog.set_config($\(2 * $0 + 1), pg_catalog.convert_from($\(2 * $0 + 2)::pg_catalog.bytea, 'UTF8'), false)"
    }
    return (
      "SELECT " + calls.joined(separator: ", "),
      sorted.flatMap { [$0.key, hexadecimalBytea(Array($0.value.utf8))] }
    )
  }
}

extension PostgresConnection {
  /// Sets them for the session.
  ///
  /// - Returns: those that were set. A server need not know a locale, a compression, or a setting of an extension that
  ///   another one has; and a session takes the name of a text search configuration on trust.
  public func set(_ settings: WritingSettings, until deadline: Deadline) throws(PostgresError) -> WritingSettings {
    guard !settings.values.isEmpty else { return settings }
    let all = settings.statement
    do throws(PostgresError) {
      try query(all.sql, all.values, until: deadline)
      return settings
    } catch  where error.reason == .server && isOpen {
      var taken = WritingSettings()
      for (name, value) in settings.values {
        let one = WritingSettings([name: value]).statement
        do throws(PostgresError) {
          try query(one.sql, one.values, until: deadline)
          taken.values[name] = value
        } catch {
          if error.reason == .server, isOpen, WritingSettings.mayBeUnknown(name) { continue }
          guard name == "TimeZone" else { throw error }
          var named = error
          named.hint =
            "the server that is read has TimeZone '\(value)': install it here (tzdata-legacy has old names), "
            + "or give that database another name of the same zone, as in ALTER DATABASE … SET TimeZone"
          throw named
        }
      }
      return taken
    }
  }
}
