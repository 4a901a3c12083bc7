import Glibc
import ReplicationModel
import TestSupport
import Testing

@testable import Lab

/// What a person reads, to the letter.
struct LabTextTests {
  @Test func statusTable() {
    let status = LabStatus(
      directory: "/tmp/lab", isComplete: true,
      hosts: [
        LabStatus.Host(
          name: "lab-source", address: "127.0.1.1",
          components: [
            LabStatus.Component(name: "sshd", port: 10022, pid: 4711, state: "running"),
            LabStatus.Component(name: "postgresql", port: 15432, pid: 4712, state: "ready"),
            LabStatus.Component(name: "app", port: nil, pid: nil, state: "down"),
          ])
      ])
    #expect(
      status.rendered == """
        lab /tmp/lab: up

        HOST        ADDRESS    COMPONENT   PORT   STATE    PID
        lab-source  127.0.1.1  sshd        10022  running  4711
        lab-source  127.0.1.1  postgresql  15432  ready    4712
        lab-source  127.0.1.1  app         -      down     -

        """)
  }

  @Test func missingProgramsAreNamedInOneError() {
    #expect {
      try Prerequisites.find(pgBin: "/nowhere")
    } throws: { error in
      "\(error)" == """
        error: missing programs: /nowhere/initdb (postgresql), /nowhere/pg_ctl (postgresql), /nowhere/postgres \
        (postgresql), /nowhere/pg_basebackup (postgresql) [lab.missing-programs]
        hint: apt-get install postgresql, or name PostgreSQL's programs with --pg-bin DIR
        """
    }
  }

  @Test(arguments: [["postgres"], ["a", "a"], [""], [], [String(repeating: "é", count: 32)], ["template1"]])
  func databaseNamesThatCannotBe(names: [String]) async {
    let options = LabOptions(directory: "/nowhere/lab", databases: names, program: builtProgram("LabProgram"))
    let error = await #expect(throws: ConvoyError.self) { try await Lab.up(options) }
    #expect(error?.code == "lab.database-name" && error?.exitStatus == 2)
  }

  @Test func aDirectoryThatIsNoLabIsLeftAlone() async throws {
    let own = try TemporaryDirectory("lab-tests")
    let directory = own.path
    try writeFile(directory + "/precious", "")
    let options = LabOptions(directory: directory, program: builtProgram("LabProgram"))
    let up = await #expect(throws: ConvoyError.self) { try await Lab.up(options) }
    #expect(
      up.map { "\($0)" } == """
        error: \(directory): the directory is not empty and not a lab [lab.directory-not-empty]
        hint: name a directory that does not exist yet, or an empty one
        """)
    let down = await #expect(throws: ConvoyError.self) { try await Lab.down(directory: directory) }
    #expect(
      down.map { "\($0)" } == """
        error: \(directory): the directory is not a lab: it has no pgconvoy-lab.json [lab.not-a-lab]
        hint: name the directory that was given to 'pgconvoy lab up --dir DIR'
        """)
    #expect(directoryEntries(directory) == ["precious"])
  }

  @Test(arguments: [
    "{}", #"{"version":1}"#,
    """
    {"version":1,"id":"../../../etc","phase":"up","directory":"HERE","storage":"HERE","databases":[],"osUser":"a",
    "sshUser":"a","program":"p","pgBin":"b","appConnections":1,"appRate":1,"hosts":[]}
    """,
    """
    {"version":1,"id":"0123456789ab","phase":"up","directory":"/usr","storage":"/usr","databases":[],"osUser":"a",
    "sshUser":"a","program":"p","pgBin":"b","appConnections":1,"appRate":1,"hosts":[]}
    """,
  ])
  func aMarkerThatIsNotThisLabsIsNotBelieved(marker: String) async throws {
    let own = try TemporaryDirectory("lab-tests")
    let directory = own.path
    var text = marker
    while let place = text.firstRange(of: "HERE") { text.replaceSubrange(place, with: directory) }
    try writeFile("\(directory)/\(LabDirectory.markerName)", text)
    let error = await #expect(throws: ConvoyError.self) { try await Lab.down(directory: directory) }
    #expect(error?.code == "lab.unreadable")
    #expect(directoryEntries(directory) == [LabDirectory.markerName])
  }

  @Test func environmentLines() {
    #expect(parseEnvironment("A='1'\n# no\nB='x=y z'\nC=3\nD='\n") == ["A": "1", "B": "x=y z"])
  }
}

/// The sample in the repository is what a lab writes.
struct LabInventoryTests {
  @Test func inventoryOfALabInTmp() throws {
    var lab = LabDescription(
      id: "0123456789ab", phase: .up, directory: "/tmp/lab", storage: "/tmp/lab", databases: [], osUser: "postgres",
      sshUser: "root", program: "/usr/bin/pgconvoy", pgBin: "/usr/lib/postgresql/15/bin", appConnections: 2,
      appRate: 40)
    for (name, address) in [("lab-source", "127.0.1.1"), ("lab-target", "127.0.1.2")] {
      lab.hosts.append(
        LabHost(
          name: name, address: address, sshPort: 10022, postgresPort: 15432, directory: "/tmp/lab/hosts/\(name)"))
    }
    let files = LabFiles(lab: lab, passwords: LabPasswords(pgconvoy: "p", app: "a"))
    let sample = try readText(repositoryRoot + "/inventory/lab-sample.yml").split(separator: "\n").dropFirst()
    #expect(files.inventory.split(separator: "\n").dropFirst() == sample)
    #expect(
      files.passfile == """
        127.0.1.1:15432:replication:pgconvoy:p
        127.0.1.1:15432:*:pgconvoy:p
        127.0.1.2:15432:replication:pgconvoy:p
        127.0.1.2:15432:*:pgconvoy:p

        """)
    #expect(parseEnvironment(files.environment)["LAB_TARGET_APP_URI"] == "postgresql://app:a@127.0.1.2:15432")
  }
}
