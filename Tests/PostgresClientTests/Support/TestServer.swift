import PostgresClient
import TestSupport
import Testing

/// The server that these tests share.
///
/// Role `admin` is a superuser that needs no password; `clerk` has one; `stranger` has no entry in pg_hba.conf, and
/// `outcast` a rejecting one.
enum TestServer {
  static let options = Cluster.Options(
    superuser: "admin",
    hostBasedAuthentication: """
      host all admin    127.0.0.1/32 trust
      host all clerk    127.0.0.1/32 scram-sha-256
      host all outcast  127.0.0.1/32 reject

      """)

  @Sendable static func prepare(_ cluster: Cluster) throws {
    try cluster.connect().script(
      "CREATE ROLE clerk LOGIN PASSWORD 'right'; CREATE ROLE stranger LOGIN; CREATE ROLE outcast LOGIN")
  }

  static func running() throws -> Cluster { try #require(Cluster.current) }
}

extension Cluster {
  func session() async throws -> PostgresSession { try await PostgresSession.connect(parameters()) }

  /// What libpq puts in front of the server's words nowhere to be seen.
  var place: String { "127.0.0.1:\(port)/postgres" }
}

/// All tests that share the server, one after the other.
@Suite(.serialized, .sharedCluster(TestServer.options, prepare: TestServer.prepare)) enum WithServer {}
