package import HostAdmin
import Inventory
package import PostgresClient
import ReplicationModel

/// What a server has loaded, by what it does: by who is refused, not by what it says of its files.
///
/// A connection that begins when the server has been told to reload is let in or refused by what it has loaded then: the
/// signal is there before the connection, and the postmaster heeds it before it takes another one. When it has last loaded
/// its configuration says less: a wrong line in `postgresql.conf` leaves that time as it was, while `pg_hba.conf` is
/// loaded all the same.
extension Fence {
  /// The file as the server has it now, whatever its bytes.
  func text(_ session: PostgresSession) async throws -> HostBasedAuthentication {
    HostBasedAuthentication(binary: try await session.query("SELECT \(HostBasedAuthentication.reading)").first ?? "")
  }

  func hbaPath(_ session: PostgresSession) async throws -> String {
    try await session.query("SHOW hba_file").first ?? ""
  }
  func hbaPath() async throws -> String { try await hbaPath(context.session(side)) }

  /// Our own role, as the records of that file may mean it.
  func hbaRole() async throws -> HBARole {
    let session = try await context.session(side)
    return try await HBARole.ask(role, session).facing(hbaFile(try await context.server(side), session), session)
  }

  /// - Throws: `fence.broken-hba`.
  func refuseBrokenFile(_ session: PostgresSession, step: String = "fence") async throws {
    guard let line = try await Self.brokenLine(session) else { return }
    throw ConvoyError(
      "fence.broken-hba", "pg_hba.conf \(line)", at: context.place(step, side),
      hint: "mend that line; the server would go on with its old rules without a word")
  }

  /// `line 12: invalid …`
  package static func brokenLine(_ session: PostgresSession, within limit: Duration? = nil) async throws -> String? {
    try await session.query(
      """
      SELECT pg_catalog.format('line %s: %s', line_number, error)
        FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1
      """, within: limit
    ).first
  }

  /// Whether our own role, to that database, is refused by the rules that are in force; nil where that cannot be told.
  func isRefused(_ database: String) async throws -> Bool? {
    do {
      let session = try await PostgresSession.connect(try await context.parameters(side, database: database))
      await session.close()
      return false
    } catch let error as PostgresError {
      // Its record, not a login that failed by another one: that has the same SQLSTATE.
      if ["postgres.hba-rejects", "postgres.no-hba-entry"].contains(error.convoyError().code) { return true }
      // Else those who are about to be refused may hold every place that the server has for connections.
      return error.sqlState == .invalidCatalogName ? false : nil
    }
  }

  /// Has the server load the file, for who does it in between two looks.
  ///
  /// - Returns: whether the text with that proof is in force.
  func reload(_ session: PostgresSession, proving proof: String?) async throws -> Bool {
    try await refuseBrokenFile(session)
    _ = try await session.query(CutoverSQL.reload)
    guard let proof else { return true }
    return try await isRefused(proof) == true
  }

  /// Returns when a connection has been refused by the block. Where somebody takes it out meanwhile, the sweep behind this
  /// puts it back.
  func awaitFenced() async throws {
    let session = try await context.session(side)
    try await waitUntil(
      within: .seconds(10), interval: .milliseconds(20),
      orThrow: {
        ConvoyError(
          "fence.not-reloaded", "the server lets in whom pg_hba.conf rejects, 10 s after its reload", at: place)
      }
    ) {
      guard let proof = try await text(session).proof else { return true }
      return try await isRefused(proof) == true
    }
  }

  /// Makes sure that the block is not in force any more, or says why it still is.
  func checkLifted() async throws {
    try await refuseStillInForce()
    try await context.removeFact(.liftedProof(side))
  }

  private func refuseStillInForce() async throws {
    guard let line = try await Self.brokenLine(context.session(side)) else {
      // Every connection from now on has the new rules; that one can be made is seen where it can.
      do { try await context.withNewSession(side) { _ in } } catch {
        context.progress("the fence of \(context.host(side).name) is lifted; no login could be tried: \(error)".oneLine)
      }
      return
    }
    // The server goes on with the rules that it has, and those may never have been the fence's.
    let proof = try await context.fact(.liftedProof(side))
    var isOpen = proof == nil
    if let proof { isOpen = try await isRefused(proof) == false }
    if isOpen {
      context.progress("pg_hba.conf of \(context.host(side).name), \(line): the server goes on with its old rules")
      return
    }
    throw ConvoyError(
      "fence.broken-hba", "pg_hba.conf \(line): the block is taken out, and the server does not load the file",
      at: place,
      hint: "mend that line, then SELECT pg_reload_conf(); until then nobody else gets in")
  }
}

extension HostBasedAuthentication {
  /// An expression that the server answers with the file's bytes in hexadecimal.
  package static let reading =
    "pg_catalog.encode(pg_catalog.pg_read_binary_file(pg_catalog.current_setting('hba_file')), 'hex')"

  /// - Parameter binary: what `reading` has given.
  package init(binary: String) { self.init(ByteText.string(bytes(hexadecimalBytea: "\\x" + binary))) }
}

extension Fence {
  /// Refuses what would be found when services are down: files that the server could not load, or that the fence cannot
  /// change.
  ///
  /// - Throws: `fence.broken-settings`, `fence.broken-hba`, `fence.not-replaceable`, `fence.no-own-record`,
  ///   `fence.unclear-record`.
  package func refuseUnfit(_ step: String) async throws {
    let place = context.place(step, side)
    let server = try await context.server(side)
    let session = try await context.session(side)
    if let error = try await server.configurationError(running: session.query("SHOW config_file").first) {
      throw ConvoyError(
        "fence.broken-settings", "PostgreSQL would not start with its configuration: \(error)", at: place,
        hint: "mend it, then SELECT pg_reload_conf(); until then no change of a setting is loaded either")
    }
    try await refuseBrokenFile(session, step: step)
    let file = try await hbaFile(server, session)
    if let obstacle = try await file.obstacleToReplacing() {
      throw ConvoyError(
        "fence.not-replaceable", "\(server.user) cannot replace \(file.path): \(obstacle)", at: place,
        hint: "the fence is a block in that file: give it to \(server.user), as preflight says")
    }
    _ = try await file.read().fenced(for: hbaRole(), note: note)
  }
}
