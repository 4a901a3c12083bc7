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
  /// `postgres: checkpointer`, `postgres: lab: app bifrost 127.0.0.1(5000) authentication`.
  let title: String

  private static let background = [
    "checkpointer", "background writer", "walwriter", "autovacuum launcher", "autovacuum worker", "archiver",
    "stats collector", "logger", "startup", "walreceiver", "logical replication launcher", "slotsync worker",
    "io worker", "walsummarizer",
  ]

  /// Whether it has said that it is that role: by the rules that a fence leaves, it may come in.
  func isLogin(of role: String) -> Bool {
    guard let prefix = title.firstRange(of: "postgres: ") else { return false }
    var words = title[prefix.upperBound...].split(separator: " ")
    // cluster_name stands first, and a walsender's kind.
    if words.first?.last == ":" { words.removeFirst() }
    if words.first == "walsender" { words.removeFirst() }
    return words.count > 2 && words[0] == role
  }

  /// Whether it is one of the server's own processes and no client's.
  ///
  /// A backend that has just been forked still shows the postmaster's own command line; that is a client too. So is a
  /// walsender on its way in: one of a database takes SQL. Roles may be called `logger` or `startup`; only a client's
  /// title says where it comes from, `[local]` or an address with a port.
  var isBackground: Bool {
    guard let prefix = title.firstRange(of: "postgres: ") else { return false }
    var name = title[prefix.upperBound...]
    let words = name.split(separator: " ")
    if words.contains(where: { $0 == "[local]" || ($0.hasSuffix(")") && $0.contains("(")) }) { return false }
    // cluster_name stands before the process's own title.
    if let separator = name.firstRange(of: ": ") { name = name[separator.upperBound...] }
    while name.last == " " { name = name.dropLast() }
    return Self.background.contains { name == $0 || name.hasPrefix($0 + " ") }
  }
}
