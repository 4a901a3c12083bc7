import BlockingIO
import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// Whoever gets in while the fence goes up or behind it commits nothing.
  @Suite(.serialized) struct FenceKeepsWritersOut {
    static let tables = """
      CREATE ROLE fenced_owner LOGIN PASSWORD 'owner';
      CREATE TABLE fenced_rows (who text NOT NULL, serial integer NOT NULL);
      ALTER TABLE fenced_rows OWNER TO fenced_owner;
      """

    @Test func aPreparedTransactionIsNamedAndTheFenceLifted() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(
        .sourceApp, "BEGIN; INSERT INTO fenced_rows VALUES ('prepared', 1); PREPARE TRANSACTION 'left behind'",
        in: "beta")
      let fence = try scenario.playbook(steps: ["fence: { on: source, deadline: 2s }"])
      let result = try await scenario.play(fence, expecting: 1)
      #expect(result.text.contains("prepared transaction 'left behind' in beta"), "\(result.text)")
      #expect(result.text.contains("[fence.not-clean]"), "\(result.text)")
      #expect(try await scenario.refusal(.sourceApp) == nil)
      #expect(try await scenario.status().migrations.first?.state == .handedOff)
      try await scenario.script(.source, "ROLLBACK PREPARED 'left behind'", in: "beta")
      try await scenario.applicationGoesOn()
    }

    @Test func nobodyGetsACommitIn() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      // The application keeps running: it reconnects five times a second on four connections.
      let superuser = try await scenario.session(.sourceApp, "beta")
      let owner = try await ownerSession(scenario)
      let open = try await scenario.session(.sourceApp, "beta")
      try await open.script("BEGIN; INSERT INTO fenced_rows VALUES ('open', 1)")
      try await owner.script("INSERT INTO fenced_rows VALUES ('owner', 1)")
      let login = try HalfOpenLogin(scenario.source)
      let stop = Flag()
      let loop = ReconnectLoop(try scenario.parameters(.sourceApp, "beta"))
      let looping = Task { try await loop.run(until: stop) }
      try await eventually("the first commits") { loop.committed > 5 }

      try await scenario.play(try scenario.playbook(steps: ["fence: { on: source }"]))
      let rows = "SELECT who, count(*) FROM fenced_rows GROUP BY who ORDER BY who"
      let before = try await scenario.sql(.source, rows, in: "beta")
      let (acknowledged, refused, committed) = (
        try scenario.acknowledgedCount(scenario.source), loop.refused, loop.committed
      )

      await expectDead(superuser, "INSERT INTO fenced_rows VALUES ('superuser', 1)")
      await expectDead(owner, "INSERT INTO fenced_rows VALUES ('owner', 2)")
      await expectDead(open, "COMMIT")
      #expect(login.isClosedByServer(within: .seconds(5)))
      #expect(try await scenario.refusal(.sourceApp, "beta")?.code == "postgres.hba-rejects")
      #expect(try await refusal(of: try ownerParameters(scenario)) == "postgres.hba-rejects")
      try await eventually("more refused attempts") { loop.refused > refused + 20 }
      #expect(loop.committed == committed)
      #expect(try scenario.acknowledgedCount(scenario.source) == acknowledged)
      #expect(try await scenario.sql(.source, rows, in: "beta") == before)
      #expect(!before.contains { $0[0] == "open" || $0[0] == "superuser" })
      #expect(before.contains { $0 == ["owner", "1"] })

      try await scenario.play("unfence")
      try await eventually("the loop's next commit") { loop.committed > committed }
      stop.raise()
      try await looping.value
      try await scenario.applicationGoesOn()
      #expect(try await scenario.refusal(.sourceApp) == nil)
      try await scenario.drained(["beta"])
    }

    /// A subscription writes from inside. Who lifts the fence from another machine has no journal of this one.
    @Test func aSubscriptionIsEnabledAgainFromAnotherMachine() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      let name = #"odd "name" \ 'x'"#
      let quoted = quotedIdentifier(name)
      try await scenario.script(
        .source,
        """
        CREATE SUBSCRIPTION \(quoted) CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
          WITH (connect = false, slot_name = 'nowhere')
        """, in: "beta")
      try await scenario.script(.source, "ALTER SUBSCRIPTION \(quoted) ENABLE", in: "beta")
      let enabled = "SELECT subenabled FROM pg_subscription WHERE subname = \(quotedLiteral(name))"
      try await scenario.play(try scenario.playbook(steps: ["fence: { on: source }"]))
      #expect(try await scenario.value(.source, enabled) == "f")
      let status = try #require(try await scenario.status().migrations.first)
      #expect(status.sourceFenced == true)

      let elsewhere = "\(scenario.workDirectory)/elsewhere-\(HandOffNames.random().nonce)"
      let lifted = try await scenario.start(
        "play", Scenario.shipped("unfence"), "--yes", "--state", elsewhere
      ).result()
      #expect(lifted.status == 0, "\(lifted.text)")
      #expect(try await scenario.value(.source, enabled) == "t")
      #expect(try await scenario.refusal(.sourceApp) == nil)
      // The journal here still says that there is a fence. The server is asked.
      let again = try await scenario.play(try scenario.playbook(steps: ["fence: { on: source }"]))
      #expect(again.text.contains("fence: changed"), "\(again.text)")
      #expect(try await scenario.refusal(.sourceApp)?.code == "postgres.hba-rejects")
      #expect(try await scenario.value(.source, enabled) == "f")
      try await scenario.play("unfence")
      #expect(try await scenario.value(.source, enabled) == "t")
      try await scenario.script(.source, "ALTER SUBSCRIPTION \(quoted) DISABLE", in: "beta")
      try await scenario.script(.source, "ALTER SUBSCRIPTION \(quoted) SET (slot_name = NONE)", in: "beta")
      try await scenario.script(.source, "DROP SUBSCRIPTION \(quoted)", in: "beta")
      try await scenario.applicationGoesOn()
      #expect(try await scenario.status().migrations.first?.sourceFenced == false)
    }

    private func ownerParameters(_ scenario: Scenario) throws -> ConnectionParameters {
      var parameters = try scenario.parameters(.sourceApp, "beta")
      parameters.user = "fenced_owner"
      parameters.password = "owner"
      return parameters
    }

    private func ownerSession(_ scenario: Scenario) async throws -> PostgresSession {
      try await PostgresSession.connect(try ownerParameters(scenario))
    }

    private func refusal(of parameters: ConnectionParameters) async throws -> ConvoyError.Code? {
      do {
        await (try await PostgresSession.connect(parameters)).close()
        return nil
      } catch let error as PostgresError {
        return error.convoyError().code
      }
    }

    private func expectDead(
      _ session: PostgresSession, _ statement: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async {
      await #expect(throws: PostgresError.self, sourceLocation: sourceLocation) { try await session.script(statement) }
      await session.close()
    }
  }
}

/// An application that is never at a loss: a new connection and one row, again and again.
private final class ReconnectLoop: Sendable {
  private let parameters: ConnectionParameters
  private let counts = Counts()

  /// `@unchecked Sendable`: both numbers are touched with `condition` locked only.
  private final class Counts: @unchecked Sendable {
    let condition = ConditionVariable()
    var committed = 0
    var refused = 0
  }

  init(_ parameters: ConnectionParameters) { self.parameters = parameters }

  var committed: Int { counts.condition.withLock { counts.committed } }
  var refused: Int { counts.condition.withLock { counts.refused } }

  func run(until stop: Flag) async throws {
    let (parameters, counts) = (self.parameters, self.counts)
    try await onDedicatedThread("reconnect") {
      while !stop.isRaised {
        do {
          let connection = try PostgresConnection.connect(parameters)
          try connection.script("INSERT INTO fenced_rows VALUES ('loop', 1)")
          counts.condition.withLock { counts.committed += 1 }
        } catch {
          counts.condition.withLock { counts.refused += 1 }
        }
        _ = poll([], until: .after(.milliseconds(10)))
      }
    }
  }
}

/// A client that has sent its start-up packet and says no more: the server waits for its password.
private final class HalfOpenLogin: Sendable {
  private let socket: Int32

  init(_ host: LabHost) throws {
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(host.postgresPort).bigEndian)
    inet_pton(AF_INET, host.address, &address.sin_addr)
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(connected == 0)
    // https://www.postgresql.org/docs/15/protocol-message-formats.html, StartupMessage
    let body = [UInt8]([0, 3, 0, 0]) + Array("user\0app\0database\0beta\0\0".utf8)
    let packet = [0, 0, 0, UInt8(body.count + 4)] + body
    try #require(write(socket, packet, packet.count) == packet.count)
    var reply = [UInt8](repeating: 0, count: 1)
    try #require(read(socket, &reply, 1) == 1 && reply[0] == UInt8(ascii: "R"))
  }

  deinit { close(socket) }

  /// Whether the server has ended the connection.
  func isClosedByServer(within limit: Duration) -> Bool {
    let deadline = Deadline.after(limit)
    var bytes = [UInt8](repeating: 0, count: 4096)
    while poll([(socket, Int16(POLLIN))], until: deadline)[0] != 0 {
      if read(socket, &bytes, bytes.count) <= 0 { return true }
    }
    return false
  }
}
