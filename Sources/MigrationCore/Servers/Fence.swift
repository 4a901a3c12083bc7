import HostAdmin
package import Inventory
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// Keeps every writer out of a server but pgconvoy's own role, superusers included.
///
/// Four parts: reject records on top of pg_hba.conf (so that nobody comes in), subscriptions off (so that nobody
/// writes from inside), a sweep of those who are in already, and a second lock, `ConnectionLimits`. The block in
/// pg_hba.conf is the record of the fence: any machine with the inventory can see and lift it, and enable the
/// subscriptions that it names. `FenceWatch` keeps it closed.
package struct Fence {
  package let context: MigrationContext
  package let side: Side

  package init(context: MigrationContext, side: Side) {
    self.context = context
    self.side = side
  }

  var place: ConvoyError.Place { context.place("fence", side) }
  var role: String { context.migration.host(side).postgres.user }

  /// Those that the fence has disabled.
  package func disabledSubscriptions() async throws -> [Subscriptions.Name] {
    try await hbaFile(try await context.server(side), try await context.session(side)).read().disabledSubscriptions
  }

  /// Whether a block stands there that says so.
  package func isQuarantine() async throws -> Bool {
    try await hbaFile(try await context.server(side), try await context.session(side)).read().note
      == Quarantine.note(context)
  }

  var note: String { "migration \(context.migrationName)" }
  var subscriptions: Subscriptions { Subscriptions(context: context, side: side) }

  var limits: ConnectionLimits { ConnectionLimits(context: context, side: side) }

  /// Whether anything of a fence is left, be it the second lock alone, or a block that is still in force.
  package func hasTraces() async throws -> Bool {
    if try await isUp() { return true }
    if try await context.fact(.liftedProof(side)) != nil { return true }
    return try await !limits.closed().isEmpty
  }

  package func isUp() async throws -> Bool {
    try await hbaFile(try await context.server(side), try await context.session(side)).read().isFenced
  }

  func hbaFile(_ server: ServerControl, _ session: PostgresSession) async throws -> HBAFile {
    HBAFile(server: server, path: try await hbaPath(session))
  }
}

/// A child of the postmaster as the process list shows it.
struct PostmasterChild {
  /// `postgres: checkpointer`, `postgres: lab: app bifrost 127.0.0.1(5000) authentication`; the postmaster's own command
  /// line while it has none yet.
  let title: String
  /// The server's cluster_name, which stands before a title and may be any text.
  let cluster: String
  /// Bytes that the server's titles have room for: the postmaster's arguments and environment. Longer ones are cut off.
  let room: Int

  /// Behind the cluster's name; nil where it has no title of its own.
  private var name: Substring? {
    guard let prefix = title.firstRange(of: "postgres: ") else { return nil }
    let name = title[prefix.upperBound...]
    let clusterPrefix = cluster + ": "
    return !cluster.isEmpty && name.hasPrefix(clusterPrefix) ? name.dropFirst(clusterPrefix.count) : name
  }

  /// Whether it has said that it is that role: by the rules that a fence leaves, it may come in.
  func isLogin(of role: String) -> Bool {
    guard var words = name?.split(separator: " ") else { return false }
    // A walsender's kind stands first.
    if words.first == "walsender" { words.removeFirst() }
    return words.count > 2 && words[0] == role
  }

  /// Whether it is none of a client's: a process of the server's own, or a background worker of an extension, whatever
  /// that calls itself.
  ///
  /// A backend that has just been forked still shows the postmaster's own command line; that is a client. So is a
  /// walsender on its way in: one of a database takes SQL. Roles may be called `logger` or `startup`; only a client's
  /// title says where it comes from, `[local]` or an address with a port, and it has said so before it may log in.
  var isBackground: Bool {
    // Where a client comes from stands last, and is cut off first.
    guard title.utf8.count < room - 1, let words = name?.split(separator: " "), !words.isEmpty else { return false }
    return !words.contains { $0 == "[local]" || Self.isAddress($0) }
  }

  /// `127.0.0.1(5000)`, `db.example.com(5000)`, `fe80::1%eth0(5000)`.
  private static func isAddress(_ word: Substring) -> Bool {
    guard let parenthesis = word.lastIndex(of: "("), parenthesis != word.startIndex, word.last == ")" else {
      return false
    }
    let port = word[word.index(after: parenthesis)...].dropLast()
    return !port.isEmpty && port.allSatisfy(\.isNumber)
  }
}
