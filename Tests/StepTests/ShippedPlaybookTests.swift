import Foundation
import Playbook
import TestSupport
import Testing

@testable import MigrationCore
@testable import MigrationSteps

/// Every playbook that is handed out names steps that exist, with parameters that they take.
@Suite struct ShippedPlaybookTests {
  private static let directory = repositoryRoot + "/playbooks"

  private static var playbooks: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).filter { $0.hasSuffix(".yml") }.sorted()
  }

  @Test func theyAreThere() {
    let expected = [
      "cutover.yml", "finish.yml", "migrate.yml", "prepare.yml", "quiesced-migrate.yml", "rollback.yml", "unfence.yml",
    ]
    #expect(Self.playbooks == expected)
  }

  @Test(arguments: playbooks)
  func itsStepsExist(_ name: String) throws {
    let bound = try StepLibrary<MigrationContext>.migration.load(path: Self.directory + "/" + name)
    #expect(bound.plays.allSatisfy { !$0.steps.isEmpty })
  }
}
