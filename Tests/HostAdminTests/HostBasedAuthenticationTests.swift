import ReplicationModel
import TestSupport
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

  /// Without the two records by which it is known that this text is in force.
  private func withoutProof(_ fenced: HostBasedAuthentication) throws -> String {
    let proof = try #require(fenced.proof)
    #expect(proof.wholeMatch(of: #/pgconvoy_fence_[0-9a-f]{16}/#) != nil)
    let records = "local \(proof) all reject\nhost \(proof) all all reject\n"
    #expect(fenced.text.contains(records))
    return fenced.text.replacing(records, with: "")
  }

  @Test(arguments: [
    ("local all postgres peer", #"local all "postgres" peer"#),
    ("local all all trust # comment", #"local all "postgres" trust"#),
    ("host all,\"x,y\" bob, postgres 10.0.0.0 255.0.0.0 md5", #"host all,"x,y" "postgres" 10.0.0.0 255.0.0.0 md5"#),
    ("hostssl all \"postgres\" ::/0 cert map=m", #"hostssl all "postgres" ::/0 cert map=m"#),
    ("host all +postgres samenet scram-sha-256", #"host all "postgres" samenet scram-sha-256"#),
    ("host samerole all 10.0.0.0/8 md5", #"host samerole "postgres" 10.0.0.0/8 md5"#),
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
    #expect(try withoutProof(fenced) == block(own) + text)
    #expect(fenced.isFenced)
    #expect(Array(fenced.unfenced.text.utf8) == Array(text.utf8))
    // A second fence replaces the first.
    #expect(try fenced.fenced(for: "postgres", note: "note") == fenced)
  }

  @Test(arguments: [
    "", "# local all postgres peer", "local all bob peer", "local all \"all\" peer", "local all postgres reject",
    "host all postgres", "include other.conf", "local all \"Postgres\" peer", "host all +staff all md5",
    "host all \"+postgres\" all md5",
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
      try withoutProof(HostBasedAuthentication(text).fenced(for: "postgres", note: "note"))
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
    #expect(all.records("postgres").dropFirst(2) == plain.records("postgres").dropFirst(2))
    #expect(Set([plain.proof, one.proof, all.proof]).count == 3)
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
    #expect(try withoutProof(fenced).hasPrefix(block(#"local all "all" peer"#, role: "all")))
  }

  @Test func aRoleWithQuotes() throws {
    let fenced = try HostBasedAuthentication("local all \"a\"\"b c\" peer").fenced(for: "a\"b c", note: "note")
    #expect(try withoutProof(fenced).hasPrefix(block(#"local all "a""b c" peer"#, role: "a\"b c")))
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

  // MARK: whom a record means

  /// A group's record means its members: neither does it lock others out, nor does its `trust` open their role.
  @Test func recordsOfGroups() throws {
    let text =
      "host all +staff all trust\nhost all \"+ops\" all trust\nhost all +ops,+dba all ident\nhost all all all md5"
    let role = HBARole("postgres", groups: ["dba", "all_dba"])
    #expect(
      try withoutProof(HostBasedAuthentication(text).fenced(for: role, note: "note"))
        == block("host all \"postgres\" all ident\nhost all \"postgres\" all md5") + text)
  }

  @Test func recordsOfListsExpressionsAndIncludedFiles() throws {
    let text = """
      host all @admins all trust
      include "with space.conf"
      include_dir hba.d
      include_if_exists none.conf
      host all /^nobody all trust
      host all "/^post" all scram-sha-256
      host all all all reject
      """
    var role = HBARole("postgres", serverVersion: 160000)
    role.expressions = ["^nobody": false, "^post": true]
    role.files.texts = [
      "/etc/pg/admins": "bob @more\n# postgres\n", "/etc/pg/more": "\"+postgres\", Postgres",
      "/etc/pg/with space.conf": "host all bob all trust\nhost @dbs,x postgres all cert",
      "/etc/pg/hba.d/1.conf": "host @dbs postgres 10.0.0.0 255.0.0.0 \"reject\"",
    ]
    role.files.directories = ["/etc/pg/hba.d": ["/etc/pg/hba.d/1.conf"]]
    let file = HostBasedAuthentication(text, path: "/etc/pg/pg_hba.conf")
    let fenced = try file.fenced(for: role, note: "note")
    #expect(
      try withoutProof(fenced)
        == block(
          """
          host @dbs,x "postgres" all cert
          host @"/etc/pg/hba.d/dbs" "postgres" 10.0.0.0 255.0.0.0 "reject"
          host all "postgres" all scram-sha-256
          host all "postgres" all reject
          """) + text)
    #expect(fenced.path == file.path && fenced.unfenced == file)
    // Older servers know neither expressions nor inclusion.
    role.serverVersion = 150000
    let older = try withoutProof(
      file.fenced(for: HBARole("/^post", serverVersion: 150000).with(role.files), note: "note"))
    #expect(
      older.contains("\nhost all \"/^post\" all scram-sha-256\nhost all \"/^post\" all reject\nlocal all all reject"))
  }

  @Test(arguments: ["host all @gone all md5\nhost all all all md5", "host all /x( all md5\nhost all postgres all md5"])
  func whatCannotBeToldIsRefused(_ text: String) {
    let error = #expect(throws: ConvoyError.self) {
      try HostBasedAuthentication(text, path: "/etc/pg_hba.conf").fenced(
        for: HBARole("postgres", serverVersion: 160000), note: "note")
    }
    #expect(error?.code == "fence.unclear-record")
  }

  /// Whatever stands in the file: the records that mean the role are its own, in their order; nobody else has one that
  /// lets in; and taken away again, the block has changed no byte.
  @Test func anyFile() throws {
    var random = SeededRandom(seed: 11)
    let role = HBARole("own", groups: ["team", "all"], serverVersion: 150000)
    let types = ["local", "host", "hostssl", "hostnossl"]
    let users = [
      "own", "\"own\"", "all", "\"all\"", "+team", "\"+team\"", "+staff", "bob", "own, bob", "bob,+all", "\"o,wn\"",
      "Own",
    ]
    let databases = ["all", "replication", "sameuser", "a,\"b c\"", "shop , x"]
    let methods = ["trust", "reject", "md5", "scram-sha-256", "ident map=\"a b\"", "cert"]
    let spice = ["", "# h\u{e9} comment", " \t ", "host all", "nonsense \"quote", "# joined \\", "\u{10FEE9}"]
    for _ in 0..<2000 {
      var lines: [String] = []
      for _ in 0..<Int.random(in: 0...8, using: &random) {
        if Int.random(in: 0..<4, using: &random) == 0 {
          lines.append(spice.randomElement(using: &random) ?? "")
          continue
        }
        let type = types.randomElement(using: &random) ?? ""
        let address =
          type == "local"
          ? "" : ["all", "10.0.0.0/8", "10.0.0.0 255.0.0.0", "samenet"].randomElement(using: &random) ?? ""
        let fields = [
          type, databases.randomElement(using: &random) ?? "", users.randomElement(using: &random) ?? "", address,
          methods.randomElement(using: &random) ?? "",
        ]
        lines.append(fields.joined(separator: Bool.random(using: &random) ? " " : "\t"))
      }
      let newline = Bool.random(using: &random) ? "\n" : "\r\n"
      let text = lines.joined(separator: newline) + (Bool.random(using: &random) ? newline : "")
      let file = HostBasedAuthentication(text)
      let before = file.records(role).filter { role.isMeant(by: $0.users, in: "") == true }
      guard before.contains(where: { $0.method != "reject" }) else {
        #expect(throws: ConvoyError.self) { try file.fenced(for: role, note: "n") }
        continue
      }
      let fenced = try file.fenced(for: role, note: "n")
      let block = HostBasedAuthentication(String(fenced.text.dropLast(text.count)))
      #expect(ByteText.bytes(fenced.unfenced.text) == ByteText.bytes(text))
      let records = block.records(role).dropFirst(2)
      let own = records.filter { $0.users.map(\.raw) == ["\"own\""] }
      #expect(
        own.map { "\($0.type) \($0.databases.map(\.value)) \($0.rest)" }
          == before.map { "\($0.type) \($0.databases.map(\.value)) \($0.rest)" }, "\(text)")
      #expect(
        records.filter { $0.users.map(\.raw) != ["\"own\""] }.allSatisfy { $0.method == "reject" }, "\(fenced.text)")
    }
  }
}

extension HBARole {
  fileprivate func with(_ files: HBAFiles) -> HBARole {
    var role = self
    role.files = files
    return role
  }
}
