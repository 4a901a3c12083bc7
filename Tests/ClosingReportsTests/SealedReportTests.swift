import Foundation
import ReplicationModel
import StatusReport
import TestSupport
import Testing

@testable import ClosingReports

@Suite struct SealedReportTests {
  private func report() -> MigrationReport {
    var report = MigrationReport(
      generatedAt: Date(timeIntervalSince1970: 1_772_359_200), migration: "m", source: "old", target: "new",
      outcome: .rolledBack, versions: .init(pgconvoy: "1", source: "15.20", target: "15.20"))
    report.direction = .reverse
    report.by = "ada@workstation"
    var database = MigrationReport.Database(name: "shop")
    database.tables = [
      .init(
        name: RelationName(schema: "public", name: "a \"b\"\n"), source: .init(rows: 1, checksum: "0f"),
        target: .init(rows: 1, checksum: "0f"))
    ]
    database.sequences = [.init(name: RelationName(schema: "public", name: "s"), lastValue: -7, isCalled: false)]
    report.databases = [database]
    return report
  }

  @Test func theDocumentBearsItsHashAndIsStillTheReport() throws {
    let document = MigrationReportJSON.render(report())
    let (text, hash) = SealedReport.seal(document)
    #expect(text.hasPrefix("{\n  \"sha256\": \"\(hash)\",\n  \"version\": 1,\n"))
    #expect(hash.count == 64)
    let hashes = try #require(SealedReport.hashes(text))
    #expect(hashes.borne == hash && hashes.computed == hash)
    #expect(try JSONDecoder().decode(MigrationReport.self, from: Data(text.utf8)) == report())
  }

  /// The documented command computes the same.
  @Test func sha256sumAgrees() throws {
    let (text, hash) = SealedReport.seal(MigrationReportJSON.render(report()))
    let output = try Program.check(["sh", "-c", "grep -v '^  \"sha256\"' | sha256sum"], input: text)
    #expect(output.hasPrefix(hash))
  }

  @Test(arguments: [
    ("\"rows\": 1", "\"rows\": 2"), ("ada@", "eve@"), ("-7", "-8"), ("rolled_back", "cut_over"),
    ("  \"sha256\"", "   \"sha256\""), ("\"version\": 1,", "\"version\": 1, "), ("\n}\n", "\n}"),
  ]) func aChangeIsSeen(what: String, by: String) throws {
    let text = SealedReport.seal(MigrationReportJSON.render(report())).text
    let changed = text.replacing(what, with: by, maxReplacements: 1)
    #expect(changed != text)
    let hashes = SealedReport.hashes(changed)
    #expect(hashes == nil || hashes?.borne != hashes?.computed)
  }

  @Test func aChangedFileIsReportedAsSuch() throws {
    let directory = try TemporaryDirectory("seal")
    let files = ReportFiles(stateDirectory: directory.path)
    let (path, seal) = try files.write(report(), migration: "m", nonce: "0")
    #expect(try ReportFiles.read(path, seal: seal)?.report == report())
    #expect(try ReportFiles.read(path, seal: nil)?.report == report())
    for form in ["md", "html"] {
      #expect(try String(contentsOfFile: ReportFiles.beside(path, form), encoding: .utf8).contains(seal))
    }
    let text = try String(contentsOfFile: path, encoding: .utf8)
    // Someone who knows how computes a new hash; the journal knows the old one.
    let forged = SealedReport.seal(MigrationReportJSON.render(report()).replacing("ada@", with: "eve@")).text
    for changed in [text.replacing("ada@", with: "eve@"), forged, "{}\n", "no report"] {
      try changed.write(toFile: path, atomically: true, encoding: .utf8)
      let error = #expect(throws: ConvoyError.self) { try ReportFiles.read(path, seal: seal) }
      #expect(error?.code == "report.changed")
    }
    try FileManager.default.removeItem(atPath: path)
    #expect(try ReportFiles.read(path, seal: seal) == nil)
  }
}
