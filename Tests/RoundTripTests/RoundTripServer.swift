import PostgresClient
import TestSupport
import Testing

/// The server that the suites of this target have, each one of its own, with logical decoding. Source and target are
/// databases of it.
enum RoundTripServer {
  static let options = Cluster.Options(settings: [
    "full_page_writes": "off", "shared_buffers": "64MB", "max_wal_size": "2GB", "wal_level": "logical",
    "logical_decoding_work_mem": "64kB", "max_wal_senders": "20", "max_replication_slots": "100",
    "max_prepared_transactions": "20",
  ])

  @Sendable static func prepare(_ cluster: Cluster) throws {
    try cluster.connect().script("CREATE DATABASE common TEMPLATE template0")
    let common = try cluster.connect("common")
    for statement in CommonObjects.statements { try common.script(statement) }
  }

  static func running() throws -> Cluster { try #require(Cluster.current) }
}

extension Cluster {
  /// - Parameter encoding: of the client, where it is not the database's own; `RESET ALL` does not change it.
  func connect(_ database: String, encoding: String) throws -> PostgresConnection {
    var parameters = parameters(database)
    parameters.settings["client_encoding"] = encoding
    return try PostgresConnection.connect(parameters)
  }
}

extension Trait where Self == SharedFixture<Cluster> {
  static var roundTripServer: Self { .sharedCluster(RoundTripServer.options, prepare: RoundTripServer.prepare) }
}
