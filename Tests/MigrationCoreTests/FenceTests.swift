import Testing

@testable import MigrationCore

struct FenceTests {
  @Test(arguments: [
    "postgres: checkpointer ", "postgres: lab: background writer", "postgres: autovacuum worker shop",
    "postgres: archiver last was 000000010000000000000007", "postgres: startup recovering 000000010000000000000007",
    "postgres: cluster: walwriter", "postgres: logical replication launcher ",
    "postgres: io worker 1", "postgres: stats collector ", "postgres: logger ",
  ])
  func theServersOwnProcessesAreSpared(_ title: String) {
    #expect(PostmasterChild(title: title).isBackground)
  }

  /// Our own logins, which are never swept away, are told by what the server calls them.
  @Test func aLoginOfOurOwnIsSpared() {
    for title in [
      "postgres: pgconvoy shop 127.0.0.1(5000) authentication", "postgres: lab: pgconvoy shop [local] startup",
      "postgres: walsender pgconvoy shop 10.0.0.1(4711) authentication",
    ] { #expect(PostmasterChild(title: title).isLogin(of: "pgconvoy"), "\(title)") }
    for title in [
      "postgres: app pgconvoy 127.0.0.1(5000) authentication", "postgres: pgconvoys shop [local] startup", "postgres: ",
      "/usr/lib/postgresql/15/bin/postgres -D pgconvoy", "postgres: pgconvoy",
    ] { #expect(!PostmasterChild(title: title).isLogin(of: "pgconvoy"), "\(title)") }
  }

  @Test(arguments: [
    "/usr/lib/postgresql/15/bin/postgres -D data", "postgres: app shop 127.0.0.1(5000) authentication",
    "postgres: lab: app shop [local] startup", "postgres: logger shop 127.0.0.1(5000) authentication",
    "postgres: startup_app shop [local] initializing", "postgres: lab: archiver archiver ::1(5000) authentication",
    "postgres: walsender app shop 10.0.0.1(4711) authentication", "postgres: checkpointers", "postgres: app",
    "postgres: logical replication worker for subscription 16394", "",
  ])
  func whoMayBeAClientIsNot(_ title: String) {
    #expect(!PostmasterChild(title: title).isBackground)
  }
}
