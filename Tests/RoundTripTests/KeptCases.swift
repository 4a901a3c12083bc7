import BlockingIO
import Foundation
import ReplicationModel
import TestSupport
import Testing

/// Cases that once failed, as small as they could be made: `Tests/RoundTripCases` has one file for each.
enum KeptCases {
  private static let directory = URL(filePath: repositoryRoot + "/Tests/RoundTripCases")

  static let names: [String] =
    ((try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? [])
    .filter { $0.hasSuffix(".json") }.sorted()

  static func load(_ name: String) throws -> RandomCase {
    try JSONDecoder().decode(RandomCase.self, from: Data(contentsOf: directory.appending(path: name)))
  }

  static func text(_ random: RandomCase) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(random), as: UTF8.self) + "\n"
  }

  /// Writes the case where the next test run will find it; its path.
  static func keep(_ random: RandomCase) throws -> String {
    let path = directory.appending(path: "seed-\(random.seed)-\(random.mode?.rawValue ?? "all").json").path
    try text(random).write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }
}

extension RoundTripSuites {
  @Suite struct KeptRoundTrips {
    @Test(arguments: KeptCases.names) func endsAsTheSource(name: String) async throws {
      let server = try RoundTripServer.running()
      let problems = try await onDedicatedThread("round-trip") {
        try CaseRun(server: server).problems(of: KeptCases.load(name))
      }
      #expect(problems.isEmpty, "\(name): \(problems)")
    }

    /// A target that swallows the rows of one table: one transaction with one statement is left, and fails when it is
    /// read again from its text.
    @Test func aFailingSeedIsCutDown() async throws {
      let server = try RoundTripServer.running()
      let (original, shrunk) = try await onDedicatedThread("round-trip") {
        var original = RandomCase(seed: 7, transactions: 10)
        original.mode = .single
        let table = "\"swallowed \"\"x\"\"\""
        original.definitions = [
          "CREATE TABLE other (id integer PRIMARY KEY)", "INSERT INTO other VALUES (1)", "CREATE SCHEMA s",
          "CREATE TABLE \(table) (id integer PRIMARY KEY)",
        ]
        original.units[5].transactions[0].end = .commit
        original.units[5].transactions[0].steps.append(.guarded("INSERT INTO public.\(table) VALUES (1), (2)"))
        original.drift = [
          "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
          "CREATE TRIGGER swallow BEFORE INSERT ON \(table) FOR EACH ROW EXECUTE FUNCTION swallow()",
          "ALTER TABLE \(table) ENABLE ALWAYS TRIGGER swallow",
        ]
        let run = CaseRun(server: server)
        #expect(try !run.problems(of: original).isEmpty)
        var shrinker = Shrinker(until: .after(.seconds(300))) { candidate in
          ((try? run.problems(of: candidate))?.isEmpty ?? true) == false
        }
        let shrunk = shrinker.shrink(original)
        let read = try JSONDecoder().decode(RandomCase.self, from: Data(KeptCases.text(shrunk).utf8))
        #expect(read == shrunk)
        #expect(try !run.problems(of: read).isEmpty)
        return (original, shrunk)
      }
      #expect(original.units.count > 3)
      #expect(shrunk.units.map { $0.transactions.map(\.steps) } == [[[original.units[5].transactions[0].steps.last!]]])
      #expect(shrunk.definitions == [original.definitions.last!])
      #expect(shrunk.units[0].transactions[0].settings.isEmpty)
    }
  }
}
