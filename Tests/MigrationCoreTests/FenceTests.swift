import Testing

@testable import MigrationCore

struct FenceTests {
  @Test(arguments: [
    "postgres: checkpointer ", "postgres: lab: background writer", "postgres: autovacuum worker shop",
    "postgres: archiver last was 000000010000000000000007", "postgres: startup recovering 000000010000000000000007",
    "postgres: lab: walwriter", "postgres: logical replication launcher ",
    "postgres: io worker 1", "postgres: stats collector ", "postgres: logger ", "postgres: autoprewarm leader",
    "postgres: lab: Citus Maintenance Daemon: 16384/10", "postgres: pglogical apply 16384:4711 (paused)",
  ])
  func whatIsNoClientsIsSpared(_ title: String) {
    #expect(child(title).isBackground)
  }

  /// Our own logins, which are never swept away, are told by what the server calls them.
  @Test func aLoginOfOurOwnIsSpared() {
    for title in [
      "postgres: pgconvoy shop 127.0.0.1(5000) authentication", "postgres: lab: pgconvoy shop [local] startup",
      "postgres: walsender pgconvoy shop 10.0.0.1(4711) authentication",
    ] { #expect(child(title).isLogin(of: "pgconvoy"), "\(title)") }
    for title in [
      "postgres: app pgconvoy 127.0.0.1(5000) authentication", "postgres: pgconvoys shop [local] startup", "postgres: ",
      "/usr/lib/postgresql/15/bin/postgres -D pgconvoy", "postgres: pgconvoy",
    ] { #expect(!child(title).isLogin(of: "pgconvoy"), "\(title)") }
  }

  @Test(arguments: [
    "/usr/lib/postgresql/15/bin/postgres -D data", "postgres: app shop 127.0.0.1(5000) authentication",
    "postgres: lab: app shop [local] startup", "postgres: logger shop 127.0.0.1(5000) authentication",
    "postgres: startup_app shop [local] initializing", "postgres: lab: archiver archiver ::1(5000) authentication",
    "postgres: walsender app shop 10.0.0.1(4711) authentication", "postgres: lab: app my shop db.example.com(5000)",
    "postgres: app shop fe80::1%eth0(5000) idle", "postgres: ", "",
  ])
  func whoMayBeAClientIsNot(_ title: String) {
    #expect(!child(title).isBackground)
  }

  /// A cluster's name may look like anything.
  @Test(arguments: ["lab", "db: eu: 1", "app shop 10.0.0.1(5432)", "[local]"])
  func aTitleIsReadBehindTheClustersName(_ cluster: String) {
    func child(_ name: String) -> PostmasterChild { self.child("postgres: \(cluster): \(name)", cluster) }
    #expect(child("checkpointer").isBackground)
    #expect(child("autoprewarm leader").isBackground)
    #expect(!child("app shop 127.0.0.1(5000) authentication").isBackground)
    #expect(child("pgconvoy shop 127.0.0.1(5000) authentication").isLogin(of: "pgconvoy"))
    #expect(!child("app shop 127.0.0.1(5000) authentication").isLogin(of: "pgconvoy"))
  }

  /// Where a client comes from may have been cut off.
  @Test func aTitleThatFillsItsRoomIsNoProofOfAnything() {
    let title = "postgres: lab: app shop 127.0.0."
    #expect(!PostmasterChild(title: title, cluster: "lab", room: title.utf8.count + 1).isBackground)
    #expect(PostmasterChild(title: "postgres: lab: logger", cluster: "lab", room: title.utf8.count).isBackground)
  }

  private func child(_ title: String, _ cluster: String = "lab") -> PostmasterChild {
    PostmasterChild(title: title, cluster: cluster, room: 1000)
  }
}
