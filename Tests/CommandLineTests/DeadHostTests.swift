import TestSupport
import Testing

/// Hosts that do not answer, state directories that cannot be used, plays that cannot start.
@Suite struct DeadHosts {
  private func workspace() throws -> TemporaryDirectory {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write(deadInventory, to: "inventory.yml")
    _ = try workspace.run("init", "shipped")
    return workspace
  }

  @Test func statusSaysThatAHostDoesNotAnswer() throws {
    let result = try workspace().run("status", "-i", "inventory.yml")
    #expect(result.status == 0)
    #expect(
      result.output == """
        MIGRATION  DATABASE  PHASE  LAG  BEHIND  TX  ROWS  ROWS/S  LAST ERROR
        m          –         none     –       –   –     –       –

        0 databases, worst lag –, 0 parked, sync is not running

        """)
    #expect(result.errorLines.count == 1)
    #expect(result.errors.contains("warning"))
    #expect(result.errors.contains("host one"))
    #expect(result.errors.contains("Connection refused"))
  }

  @Test func statusAsJSONStaysJSON() throws {
    let result = try workspace().run("status", "-i", "inventory.yml", "--format", "json")
    #expect(result.status == 0)
    #expect(result.output.hasPrefix("{\n  \"version\": 1,\n"))
    #expect(result.output.contains("\"state\": \"none\""))
  }

  @Test(arguments: ["migrate", "cutover", "quiesced-migrate"])
  func aPlayFailsWithTheReason(playbook: String) throws {
    let result = try workspace().run("play", "shipped/playbooks/\(playbook).yml", "-i", "inventory.yml", "--yes")
    #expect(result.status == 1)
    #expect(result.output.contains("\nerror: "))
    #expect(result.output.contains("\nhint: "))
    #expect(result.output.contains("PLAY RECAP\n"))
    #expect(result.output.contains("\nm          failed "))
  }

  @Test func nothingIsAdoptedFromServersThatDoNotAnswer() throws {
    let result = try workspace().run("adopt", "-i", "inventory.yml")
    #expect(result.status == 1)
    #expect(result.output == "")
    #expect(
      result.errorLines == [
        "m: error: one and two cannot be asked for a record [truth.out-of-reach]",
        "hint: see 'pgconvoy check' for what is wrong",
      ])
  }

  @Test func anUnknownStepIsPlaced() throws {
    let workspace = try workspace()
    try workspace.write("- name: x\n  steps:\n    - no_such_step\n", to: "play.yml")
    let result = try workspace.run("play", "play.yml", "-i", "inventory.yml")
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(result.errorLines.first == "error: play.yml:3:7: unknown step 'no_such_step' [playbook.unknown-step]")
    #expect(result.errorLines.last?.hasPrefix("hint: known steps: preflight, ") == true)
    #expect(!workspace.exists(".pgconvoy"))
  }

  @Test func aPatternThatMatchesNothing() throws {
    let result = try workspace().run(
      "play", "shipped/playbooks/migrate.yml", "-i", "inventory.yml", "--limit", "nobody")
    #expect(result.status == 2)
    #expect(
      result.errorLines == [
        "error: pattern 'nobody' matches no migration [inventory.unmatched-pattern]", "hint: known names: m",
      ])
  }

  @Test func aStateDirectoryThatCannotBeMade() throws {
    let result = try workspace().run("status", "-i", "inventory.yml", "--state", "/proc/nowhere")
    #expect(result.status == 1)
    #expect(result.output == "")
    #expect(
      result.errorLines == [
        "error: /proc/nowhere: the state directory cannot be used: no such file or directory [journal.unwritable]",
        "hint: check its owner and mode, or name another directory with --state",
      ])
  }

  @Test func aStateDirectoryThatEverybodyMayWriteTo() throws {
    let result = try workspace().run("status", "-i", "inventory.yml", "--state", "/tmp")
    #expect(result.status == 1)
    #expect(
      result.errorLines.first
        == "error: /tmp: everybody may write to the state directory [journal.unsafe-directory]")
  }

  @Test func aReportThatNobodyHasWritten() throws {
    let result = try workspace().run("report", "-i", "inventory.yml")
    #expect(result.status == 1)
    #expect(
      result.errorLines == ["error: migration m has no report yet [report.none]", "hint: a cutover writes one"])
  }

  @Test(arguments: ["down", "status"])
  func aDirectoryThatIsNoLab(command: String) throws {
    let workspace = try workspace()
    let result = try workspace.run("lab", command, "--dir", workspace.path)
    #expect(result.status == 2)
    #expect(result.errorLines.first?.hasSuffix("[lab.not-a-lab]") == true)
    #expect(workspace.exists("inventory.yml"))
  }
}
