import ReplicationModel
import Testing

@testable import HostAdmin

struct HostBasedAuthenticationTests {
  private static let tail = """
    local all all reject
    local replication all reject
    host all all 0.0.0.0/0 reject
    host all all ::/0 reject
    host replication all 0.0.0.0/0 reject
    host replication all ::/0 reject
    # pgconvoy fence end

    """

  private func block(_ own: String, role: String = "postgres") -> String {
    "# pgconvoy fence begin: note\n# Only role \(role) gets in. pgconvoy put this here and removes it.\n\(own)\n"
      + Self.tail
  }

  @Test(arguments: [
    ("local all postgres peer", #"local all "postgres" peer"#),
    ("local all all trust # comment", #"local all "postgres" trust"#),
    ("host all,\"x,y\" bob, postgres 10.0.0.0 255.0.0.0 md5", #"host all,"x,y" "postgres" 10.0.0.0 255.0.0.0 md5"#),
    ("hostssl all \"postgres\" ::/0 cert map=m", #"hostssl all "postgres" ::/0 cert map=m"#),
    ("host all +admins samenet scram-sha-256", #"host all "postgres" samenet scram-sha-256"#),
    ("host samerole all 10.0.0.0/8 md5", #"host samerole "postgres" 10.0.0.0/8 md5"#),
    ("host all /^post all md5", #"host all "postgres" all md5"#),
    (
      "host replication all all ldap ldapsearchfilter=\"(a b)#\"",
      #"host replication "postgres" all ldap ldapsearchfilter="(a b)#""#
    ),
    ("host all post\\\ngres 10.0.0.0/8 md5", #"host all "postgres" 10.0.0.0/8 md5"#),
    ("# local all bob trust \\\n host all all all trust\nlocal all postgres peer", #"local all "postgres" peer"#),
    ("local all bob peer\r\nlocal all postgres peer\r\n", #"local all "postgres" peer"#),
    ("host all bob all md5\nlocal\tall\tpostgres\tpeer", #"local all "postgres" peer"#),
  ])
  func keepsTheRolesOwnRecords(_ text: String, _ own: String) throws {
    let fenced = try HostBasedAuthentication(text).fenced(for: "postgres", note: "note")
    #expect(fenced.text == block(own) + text)
    #expect(fenced.isFenced)
    #expect(Array(fenced.unfenced.text.utf8) == Array(text.utf8))
    // A second fence replaces the first.
    #expect(try fenced.fenced(for: "postgres", note: "note") == fenced)
  }

  @Test(arguments: [
    "", "# local all postgres peer", "local all bob peer", "local all \"all\" peer", "local all postgres reject",
    "host all postgres", "include other.conf", "local all \"Postgres\" peer",
  ])
  func refusesToLockPgconvoyOut(_ text: String) {
    let error = #expect(throws: ConvoyError.self) {
      _ = try HostBasedAuthentication(text).fenced(for: "postgres", note: "note")
    }
    #expect(error?.code == "fence.no-own-record")
  }

  /// Where the admin keeps the role out, the fence must not let it in.
  @Test func rejectionsOfTheRoleStayWhereTheyStand() throws {
    let text = """
      host all postgres 0.0.0.0/0 reject
      host all +noone all reject
      host all all 10.0.0.0/8 reject
      host all all 0.0.0.0/0 scram-sha-256
      """
    #expect(
      try HostBasedAuthentication(text).fenced(for: "postgres", note: "note").text
        == block(
          """
          host all "postgres" 0.0.0.0/0 reject
          host all "postgres" 10.0.0.0/8 reject
          host all "postgres" 0.0.0.0/0 scram-sha-256
          """) + text)
  }

  /// Whoever lifts the fence, from whatever machine, finds them there.
  @Test func theBlockRemembersSubscriptions() throws {
    let text = "host all all 0.0.0.0/0 scram-sha-256\n"
    let names = ["plain", "two\nlines # \\", "\"quoted\" é"].map {
      HostBasedAuthentication.SubscriptionName(database: "d \($0)", name: $0)
    }
    let plain = try HostBasedAuthentication(text).fenced(for: "postgres", note: "note")
    #expect(plain.disabledSubscriptions == [])
    #expect(plain.note == "note")
    let one = try plain.fenced(for: "postgres", note: "note", disabling: [names[0]])
    let all = try one.fenced(for: "postgres", note: "other", disabling: Array(names[1...]) + [names[0]])
    #expect(all.disabledSubscriptions == names)
    #expect(all.note == "other")
    #expect(all.records == plain.records)
    #expect(try all.fenced(for: "postgres", note: "other") == all)
    #expect(all.unfenced.text == text)
    #expect(all.unfenced.disabledSubscriptions == [])
    #expect(all.unfenced.note == nil)
  }

  @Test func filesThatItPointsTo() {
    let text = """
      # include commented
      include extra.conf
      include_if_exists "with space.conf"
      include_dir hba.d
      local @databases all,@"more people",me peer
      host all all samehost scram-sha-256 # @comment
      """
    #expect(
      HostBasedAuthentication(text).references == [
        .init(path: "extra.conf"), .init(path: "with space.conf"), .init(path: "hba.d", isDirectory: true),
        .init(path: "databases"), .init(path: "more people"),
      ])
  }

  @Test func aRoleNamedAllIsOneRole() throws {
    let fenced = try HostBasedAuthentication("local all \"all\" peer\nhost all bob all md5").fenced(
      for: "all", note: "note")
    #expect(fenced.text.hasPrefix(block(#"local all "all" peer"#, role: "all")))
  }

  @Test func aRoleWithQuotes() throws {
    let fenced = try HostBasedAuthentication("local all \"a\"\"b c\" peer").fenced(for: "a\"b c", note: "note")
    #expect(fenced.text.hasPrefix(block(#"local all "a""b c" peer"#, role: "a\"b c")))
  }

  /// An empty file would lock everybody out.
  @Test func aBlockWithoutItsEndTakesNothingOfTheAdminsAlong() throws {
    let text = "local all postgres peer\nhost all bob all md5\n"
    let fenced = try HostBasedAuthentication(text).fenced(for: "postgres", note: "note").text
    let broken = fenced.replacing("# pgconvoy fence end\n", with: "")
    #expect(HostBasedAuthentication(broken).unfenced.text == text)
    let carriage = fenced.replacing("\n", with: "\r\n")
    #expect(HostBasedAuthentication(carriage).unfenced.text == text.replacing("\n", with: "\r\n"))
  }
}
