/// How to reach one database. Passed to libpq keyword by keyword, never as one string.
/// <https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-PARAMKEYWORDS>
public struct ConnectionParameters: Sendable, Equatable {
  /// A host name, an address, or the directory of a Unix-domain socket.
  public var host: String
  /// Where `host` is reached instead, a local end of a tunnel, say: `host` goes on naming the server for TLS.
  public var hostAddress: String?
  public var port: Int
  public var user: String
  public var database: String
  public var password: String?
  /// A libpq password file; libpq itself checks its mode.
  public var passfile: String?
  public var sslmode: String?
  public var applicationName: String
  /// Seconds for the whole attempt, all addresses together.
  public var connectTimeout: Double
  /// True for a walsender connection to `database`.
  public var isReplication: Bool
  /// Settings given in the start-up packet, beside `pinnedSettings` and before them; they win over those of the database
  /// and the role.
  public var settings: [String: String]
  /// Settings among the pinned ones that the session shall have as anybody's.
  var unpinned: Set<String> = []

  public init(
    host: String, port: Int, user: String, database: String, password: String? = nil, passfile: String? = nil,
    sslmode: String? = nil, applicationName: String = "pgconvoy", connectTimeout: Double = 10,
    isReplication: Bool = false, settings: [String: String] = [:]
  ) {
    self.host = host
    self.port = port
    self.user = user
    self.database = database
    self.password = password
    self.passfile = passfile
    self.sslmode = sslmode
    self.applicationName = applicationName
    self.connectTimeout = connectTimeout
    self.isReplication = isReplication
    self.settings = settings
  }

  /// The same server and role, another database.
  public func database(_ name: String) -> ConnectionParameters {
    var copy = self
    copy.database = name
    return copy
  }

  /// The same with `canonicalTextSettings`.
  public var canonical: ConnectionParameters {
    var copy = self
    copy.settings.merge(canonicalTextSettings) { _, canonical in canonical }
    return copy
  }

  /// For messages: `host:port/database`, without credentials.
  public var displayName: String { "\(host):\(port)/\(database)" }

  /// libpq's keywords. `options` escapes a space and a backslash with a backslash, as the server splits it.
  /// The connection never reads a service file, and takes nothing from PGOPTIONS and its kind: see
  /// `forgetOverrulingVariables`.
  var keywords: [(String, String)] {
    var list = [
      ("host", host), ("port", String(port)), ("user", user), ("dbname", database),
      ("application_name", applicationName), ("fallback_application_name", "pgconvoy"),
      ("connect_timeout", String(max(2, Int(connectTimeout.rounded(.up))))),
      ("keepalives_idle", "15"), ("keepalives_interval", "5"), ("keepalives_count", "4"),
      ("tcp_user_timeout", "60000"),
      ("options", optionsText),
    ]
    if let hostAddress { list.append(("hostaddr", hostAddress)) }
    if let password { list.append(("password", password)) }
    if let passfile { list.append(("passfile", passfile)) }
    if let sslmode { list.append(("sslmode", sslmode)) }
    if isReplication { list.append(("replication", "database")) }
    return list
  }

  private var optionsText: String {
    pinnedSettings.filter { !unpinned.contains($0.key) }.merging(settings) { _, own in own }.sorted { $0.key < $1.key }
      .map { name, value in
        var escaped = ""
        for character in "\(name)=\(value)" {
          if character == " " || character == "\\" { escaped.append("\\") }
          escaped.append(character)
        }
        return "-c \(escaped)"
      }.joined(separator: " ")
  }
}

/// The settings that make a value's text the same on every server, whatever the database or the role has set.
///
/// test_decoding prints through the types' output functions, so a walsender needs them as much as a session that
/// compares rows does.
public let canonicalTextSettings: [String: String] = [
  "DateStyle": "ISO, YMD",
  "IntervalStyle": "postgres",
  "TimeZone": "UTC",
  "extra_float_digits": "3",
  "bytea_output": "hex",
  "quote_all_identifiers": "off",
  "search_path": "",
  "lc_monetary": "C",
  "xmloption": "content",
]
