import TestSupport
import Testing

extension Trait where Self == SharedFixture<Cluster> {
  /// A server for a suite, whose databases' changes are decoded and applied.
  static var cluster: Self {
    .sharedCluster(
      Cluster.Options(
        initdbArguments: ["--locale=C.UTF-8"],
        settings: [
          "wal_level": "logical", "max_replication_slots": "100", "max_connections": "200", "shared_buffers": "64MB",
          "max_prepared_transactions": "5",
          // What is not flushed at a commit stays unflushed for as long as a test looks.
          "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB",
        ]))
  }
}
