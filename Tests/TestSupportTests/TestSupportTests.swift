import BlockingIO
import Glibc
import Lab
import PostgresClient
import TestSupport
import Testing

/// What other tests go by.
struct TestSupportTests {
  /// Seeds are written in messages and in cases that are kept: their numbers must not change. The first three are those
  /// of the algorithm's authors.
  @Test func aSeedIsTheSameNumbersForEver() {
    var plain = SeededRandom(seed: 0)
    #expect([plain.next(), plain.next()] == [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4])
    #expect(plain.next() == 0x06C4_5D18_8009_454F)
    var mixed = SeededRandom(mixing: 1)
    #expect((0..<8).map { _ in mixed.int(1...100) } == [3, 20, 63, 36, 5, 51, 42, 42])
    #expect((0..<3).map { _ in mixed.pick(["a", "b", "c"]) } == ["c", "b", "b"])
  }

  /// The state moves by a fixed step: plain seeds that far apart draw the same numbers one place further on.
  @Test func mixedSeedsDrawUnrelatedNumbers() {
    let step: UInt64 = 0x9E37_79B9_7F4A_7C15
    func second(_ random: SeededRandom) -> UInt64 {
      var random = random
      _ = random.next()
      return random.next()
    }
    var plain = SeededRandom(seed: 7 &+ step)
    #expect(second(SeededRandom(seed: 7)) == plain.next())
    var mixed = SeededRandom(mixing: 7 &+ step)
    #expect(second(SeededRandom(mixing: 7)) != mixed.next())
  }

  @Test func aProgramsStreamsAndEnd() async throws {
    let result = try await Program(["sh", "-c", "cat; pwd; echo no >&2; exit 3"], input: "in\n", in: "/usr").result()
    #expect(result.status == 3)
    #expect(result.output == "in\n/usr\n")
    #expect(result.errorLines == ["no"])
    #expect(try Program.run(["sh", "-c", "kill -9 $$"]).status == 128 + SIGKILL)
    #expect(throws: TestFailure.self) { try Program.check(["false"]) }
    #expect(try Program.run(["/nowhere/program"]).status == 127)
  }

  /// The program, what it has started, and what that has put into a process group of its own.
  @Test func anEndIsThatOfTheWholeSession() async throws {
    let program = try Program(["sh", "-c", "trap '' TERM; timeout 1000 sleep 1000 & echo $!; wait"])
    try await eventually("the child's pid") { program.output.hasSuffix("\n") }
    // (timeout gives itself a process group.)
    let child = try #require(pid_t(program.output.dropLast()))
    let entry = try #require(ProcessEntry(pid: child))
    try await eventually("the child's process group") { getpgid(child) != program.pid }
    #expect(getsid(child) == program.pid)
    try await onDedicatedThread("end") { program.end(within: .milliseconds(50)) }
    #expect(!entry.isAlive && program.hasEnded)
    #expect(program.wait().status == 128 + SIGKILL)
  }

  @Test func waitingGivesUp() async throws {
    let error = await #expect(throws: TestFailure.self) {
      try await eventually("nothing", within: .milliseconds(20), every: .milliseconds(5)) { false }
    }
    #expect(error?.description == "waited 0.02 seconds for: nothing")
  }

  @Test func aLineThatIsBeingWrittenIsNoToken() throws {
    let directory = try TemporaryDirectory()
    #expect(try acknowledgedTokens(directory.path + "/none") == [:])
    let log = try directory.write("a\t1\nb\t2\na\t3\na\t", to: "log")
    #expect(try acknowledgedTokens(log) == ["a": ["1", "3"], "b": ["2"]])
    try directory.write("a\n", to: "log")
    #expect(throws: TestFailure.self) { try acknowledgedTokens(log) }
  }

  @Test func aClusterSurvivesItsCrashesAndIsGoneAfterwards() async throws {
    var directory = ""
    try await Cluster.with(Cluster.Options(settings: ["cluster_name": "it's"])) { cluster in
      directory = cluster.directory
      try await onDedicatedThread("test") {
        #expect(try cluster.connect().query("SHOW cluster_name").first == "it's")
        try cluster.connect().script("CREATE TABLE t AS SELECT 1 AS one")
        try cluster.kill()
        #expect(!cluster.isRunning)
        try cluster.start()
        try cluster.stop(.immediate)
        #expect(!cluster.isRunning)
        try cluster.start()
        #expect(try cluster.connect().query("SELECT one FROM t").first == "1")
        try cluster.stop()
        let copy = try cluster.copy()
        try copy.start()
        try cluster.start()
        #expect(try copy.connect().query("SELECT one FROM t").first == "1" && copy.port != cluster.port)
        try copy.end()
      }
    }
    #expect(directory != "" && !fileExists(directory))
    let left = ProcessTable.snapshot().entries.filter { $0.workingDirectory?.hasPrefix(directory) == true }
    #expect(left == [])
  }
}
