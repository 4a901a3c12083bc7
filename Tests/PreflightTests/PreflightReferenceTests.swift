import Foundation
import TestSupport
import Testing

@testable import Preflight

/// docs/reference/preflight.md names every check and every code of the program, and no other.
@Suite struct PreflightReferenceTests {
  private static let root = URL(filePath: repositoryRoot)

  /// The rows of the tables of checks, cells without blanks.
  private func rows() throws -> [[String]] {
    let page = try String(contentsOf: Self.root.appending(path: "docs/reference/preflight.md"), encoding: .utf8)
    let tables = try #require(page.split(separator: "## JSON").first)
    return tables.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
      line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
  }

  /// What stands in backquotes.
  private func quoted(_ text: String) -> [String] {
    text.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }
      .map { String($0.element) }
  }

  @Test func theReferenceHasTheChecks() throws {
    #expect(try rows().flatMap { quoted($0[0]) }.sorted() == Preflight.catalogue.map(\.name).sorted())
  }

  @Test func theReferenceHasTheCodes() throws {
    let directory = Self.root.appending(path: "Sources/Preflight")
    var codes: Set<String> = []
    for file in try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil) {
      let text = try String(contentsOf: file, encoding: .utf8)
      codes.formUnion(text.matches(of: /"(preflight\.[a-z-]+)"/).map { String($0.1) })
    }
    // Named in the text above the tables.
    codes.remove("preflight.unexpected")
    #expect(Set(try rows().flatMap { quoted($0[1]) }.filter { $0.hasPrefix("preflight.") }) == codes)
  }
}
