import Foundation
import Inventory
import Playbook
import ReplicationModel
import TestSupport
import Testing

@Suite struct PlaybookFileTests {
  private func failure(_ text: String) -> String {
    do {
      _ = try library().bind(try Playbook.parse(text, path: "play.yml"))
      return "no error"
    } catch {
      #expect(error.exitStatus == 2)
      return error.description
    }
  }

  @Test(arguments: [
    (
      "name: x\n",
      """
      error: play.yml:1:1: a playbook must be a list of plays, not a mapping [playbook.wrong-type]
      hint: start each play with '- name: ...'
      """
    ),
    ("- a\n", "error: play.yml:1:3: a play must be a mapping, not 'a' [playbook.wrong-type]"),
    (
      "- name: x\n",
      """
      error: play.yml:1:3: a play has no 'steps' [playbook.missing-key]
      hint: add 'steps'
      """
    ),
    (
      "- steps: []\n",
      """
      error: play.yml:1:3: steps is empty [playbook.empty]
      hint: name at least one step
      """
    ),
    (
      "- setps: [a]\n  steps: [a]\n",
      """
      error: play.yml:1:3: unknown key 'setps' in a play [playbook.unknown-key]
      hint: did you mean 'steps'?
      """
    ),
    (
      "- { steps: [a], serial: 0 }\n",
      "error: play.yml:1:25: serial must be a count of at least 1 or a percentage from 1% to 100%, not '0' [playbook.wrong-type]"
    ),
    (
      "- { steps: [a], serial: 120% }\n",
      "error: play.yml:1:25: serial must be a count of at least 1 or a percentage from 1% to 100%, not '120%' [playbook.wrong-type]"
    ),
    (
      "- { steps: [a], on_failure: ignore }\n",
      "error: play.yml:1:29: on_failure must be stop or undo, not 'ignore' [playbook.wrong-type]"
    ),
    (
      "- { steps: [a], max_failures: -1 }\n",
      "error: play.yml:1:31: max_failures must be a count or a percentage from 0% to 100%, not '-1' [playbook.wrong-type]"
    ),
    (
      "- steps:\n  - a:\n    when: rnak > 2\n",
      """
      error: play.yml:3:11: unknown fact 'rnak' [playbook.bad-condition]
      hint: did you mean 'rank'?
      """
    ),
    (
      "- steps:\n  - a:\n    when: rank\n",
      """
      error: play.yml:3:11: 'rank' is a number and needs a comparison [playbook.bad-condition]
      hint: write 'fact', 'not fact' or 'fact == value', joined by 'and'
      """
    ),
    (
      "- steps:\n  - a:\n    when: rank > many\n",
      """
      error: play.yml:3:11: 'rank' is a number, not 'many' [playbook.bad-condition]
      hint: such as 4 or 10GB
      """
    ),
    (
      "- steps:\n  - a:\n    when: migration < m2\n",
      """
      error: play.yml:3:11: 'migration' is a text and has no order [playbook.bad-condition]
      hint: compare it with ==
      """
    ),
    (
      "- steps:\n  - a:\n    when: big and\n",
      """
      error: play.yml:3:11: a comparison is missing [playbook.bad-condition]
      hint: write 'fact', 'not fact' or 'fact == value', joined by 'and'
      """
    ),
    (
      "- steps:\n  - a:\n    when: not rank > 2\n",
      """
      error: play.yml:3:11: 'not rank > 2' is no comparison [playbook.bad-condition]
      hint: write 'fact', 'not fact' or 'fact == value', joined by 'and'
      """
    ),
    ("- steps:\n  - a:\n    tags: x\n", "error: play.yml:3:11: tags must be a list, not 'x' [playbook.wrong-type]"),
    ("- steps: a\n", "error: play.yml:1:10: steps must be a list, not 'a' [playbook.wrong-type]"),
    ("- steps: [[a]]\n", "error: play.yml:1:11: a step must be a name, not a list [playbook.wrong-type]"),
    ("- steps: [~]\n", "error: play.yml:1:11: a step must be a name, not nothing [playbook.wrong-type]"),
    (
      "- steps:\n  - all_types:\n    count: 3\n",
      """
      error: play.yml:3:5: a step is one name with its parameters, but 'count' stands beside 'all_types' [playbook.wrong-type]
      hint: indent a step's parameters under its name, or start another step with '-'
      """
    ),
    (
      "- steps:\n  - a\n  - wip\n",
      """
      error: play.yml:3:5: unknown step 'wip' [playbook.unknown-step]
      hint: did you mean 'wipe'?
      """
    ),
    (
      "- steps: [zzzzzz]\n",
      """
      error: play.yml:1:11: unknown step 'zzzzzz' [playbook.unknown-step]
      hint: known steps: a, b, c, same, point, door, wipe, half, base, all_types, needs, picky, there
      """
    ),
    (
      "- steps: [all_types: { cuont: 3 }]\n",
      """
      error: play.yml:1:24: step all_types has no parameter 'cuont' [playbook.unknown-parameter]
      hint: did you mean 'count'?
      """
    ),
    (
      "- steps: [a: { x: 3 }]\n",
      """
      error: play.yml:1:16: step a has no parameter 'x' [playbook.unknown-parameter]
      hint: there are no parameters
      """
    ),
    (
      "- steps: [all_types: { count: 10 }]\n",
      "error: play.yml:1:31: count must be a number from 1 to 9, not '10' [playbook.wrong-type]"
    ),
    (
      "- steps: [all_types: { side: both }]\n",
      "error: play.yml:1:30: side must be source or target, not 'both' [playbook.wrong-type]"
    ),
    (
      "- steps: [all_types: 3]\n",
      "error: play.yml:1:22: all_types must be a mapping, not '3' [playbook.wrong-type]"
    ),
    (
      "- steps: [needs]\n",
      """
      error: play.yml:1:11: step needs needs 'on' [playbook.missing-parameter]
      hint: on: where it happens
      """
    ),
    ("- steps: [picky]\n", "error: play.yml:1:11: parameters contradict each other [test.picky]"),
    (
      "- vars: { rate: 1MB }\n  steps: [all_types: { rate: '${rat}' }]\n",
      """
      error: play.yml:2:30: variable 'rat' is not defined [playbook.undefined-variable]
      hint: did you mean 'rate'?
      """
    ),
    (
      "- steps: [all_types: { names: [x, '${y}'] }]\n",
      """
      error: play.yml:1:35: variable 'y' is not defined [playbook.undefined-variable]
      hint: there are no variables
      """
    ),
    (
      "- vars: { rate: '${later}', later: 1 }\n  steps: [all_types: { rate: '${rate}' }]\n",
      """
      error: play.yml:1:17: variable 'later' is not defined [playbook.undefined-variable]
      hint: there are no variables
      """
    ),
    (
      "- steps: [all_types: { text: '${y' }]\n",
      """
      error: play.yml:1:30: '${y' has no closing brace [playbook.bad-variable]
      hint: write ${name}, or $${ for the text ${
      """
    ),
    (
      "- { steps: [a], vars: { x: [1] } }\n",
      "error: play.yml:1:28: variable x must be text or a number, not a list [playbook.wrong-type]"
    ),
    (
      "- { steps: [a], vars: { 1x: 1 } }\n",
      """
      error: play.yml:1:25: '1x' cannot be a variable's name [playbook.bad-name]
      hint: letters, digits and '_', not a digit first
      """
    ),
  ])
  func oneMistakeIsOneError(_ text: String, _ expected: String) {
    #expect(failure(text) == expected)
  }

  @Test func whatAPlaySays() throws {
    let playbook = try Playbook.parse(
      """
      - name: first
        migrations: "eu,!m1"
        serial: 50%
        on_failure: undo
        steps:
          - a
          - b:
          - all_types: { text: 0644 }
      - steps: [c]
        serial: 2
      """, path: "play.yml")
    let (first, second) = (playbook.plays[0], playbook.plays[1])
    #expect(first.name == "first" && first.pattern == "eu,!m1" && first.patternPlace?.line == 2)
    #expect(first.serial == .percentage(50) && first.onFailure == .undo)
    #expect(first.steps.map(\.name) == ["a", "b", "all_types"])
    #expect(first.steps[2].parameters.map(\.value.text) == ["0644"])
    #expect(second.name == "play 2" && second.pattern == "all" && second.onFailure == .stop)
    #expect(second.serial == .count(2))
  }

  @Test(arguments: [
    (Serial.all, 7, 7), (.count(2), 7, 2), (.percentage(50), 7, 3), (.percentage(1), 7, 1), (.percentage(100), 7, 7),
  ])
  func batchSizes(_ serial: Serial, _ migrations: Int, _ expected: Int) {
    #expect(serial.batchSize(of: migrations) == expected)
  }

  @Test(arguments: [
    (FailureBudget.count(0), 7, 0), (.count(3), 7, 3), (.percentage(30), 7, 2), (.percentage(0), 7, 0),
    (.percentage(100), 7, 7),
  ])
  func budgets(_ budget: FailureBudget, _ migrations: Int, _ expected: Int) {
    #expect(budget.allowance(of: migrations) == expected)
  }

  @Test func givenVariablesReplaceTheFiles() throws {
    let playbook = try Playbook.parse(
      "- vars: { base: x, text: '${base}y' }\n  steps: [all_types: { text: '${text}' }]\n", path: "play.yml")
    func text(_ given: [String: String]) throws -> String? {
      try library().bind(playbook, variables: given).plays[0].steps[0].parameters.string("text")
    }
    #expect(try text([:]) == "xy")
    #expect(try text(["base": "a"]) == "ay")
    #expect(try text(["base": "a", "text": "${b"]) == "${b")
    do {
      _ = try text(["bsae": "a"])
      Issue.record("no error")
    } catch let error as InputErrors {
      #expect(
        error.description == """
          error: play.yml: no play has a variable 'bsae' [playbook.unknown-variable]
          hint: did you mean 'base'?
          """)
    }
  }

  @Test func parametersOfEveryTypeAndVariables() throws {
    let text = """
      - vars: { rate: 50MB, base: x, both: "${base}/${rate}", flag: yes }
        steps:
          - all_types:
              text: "$${no} ${both} $5"
              count: 3
              flag: ${flag}
              time: 5m
              rate: ${rate}
              side: target
              names: [p, "${base}"]
          - all_types
      """
    let steps = try library().bind(try Playbook.parse(text, path: "play.yml")).plays[0].steps
    let parameters = steps[0].parameters
    #expect(parameters.string("text") == "${no} x/50MB $5")
    #expect(parameters.integer("count") == 3 && parameters.boolean("flag") == true)
    #expect(parameters.duration("time") == .seconds(300) && parameters.size("rate") == 50 << 20)
    #expect(parameters.choice("side", Side.self) == .target)
    #expect(parameters.strings("names") == ["p", "x"])
    #expect(steps[1].parameters.values == ["text": .string("none"), "flag": .boolean(false)])
  }

  @Test(arguments: [
    (
      "migrate", ["preflight", "base_backup", "start_standby", "hand_off", "start_sync"], FailurePolicy.stop
    ),
    (
      "cutover",
      [
        "wait_for_lag", "analyze", "stop_services", "fence", "drain", "copy_sequences", "copy_large_objects",
        "copy_unlogged_tables", "refresh_materialized_views", "verify",
        "confirm_fence", "close_forward", "open_way_back", "open_target", "start_services", "report",
      ], .undo
    ),
    (
      "rollback",
      [
        "wait_for_lag", "analyze", "stop_services", "fence", "drain", "copy_sequences", "copy_large_objects",
        "copy_unlogged_tables", "refresh_materialized_views", "verify",
        "confirm_fence", "close_reverse", "open_way_forward", "open_source", "start_services", "report",
      ], .undo
    ),
    ("finish", ["stop_sync", "clean_up", "clean_up", "finish"], .stop),
    ("quiesced-migrate", [], .stop), ("unfence", [], .stop),
    ("prepare", ["prepare_source", "set_replica_identity"], .stop),
  ])
  func shippedPlaybooksParse(_ name: String, _ steps: [String], _ policy: FailurePolicy) throws {
    let playbook = try Playbook.load(path: repositoryRoot + "/playbooks/\(name).yml")
    if !steps.isEmpty { #expect(playbook.plays.flatMap(\.steps).map(\.name) == steps) }
    #expect(playbook.plays.first?.onFailure == policy)
    #expect(playbook.plays.allSatisfy { $0.pattern == "all" })
  }

  @Test func theReferenceNamesEveryKey() throws {
    let text = try String(contentsOfFile: repositoryRoot + "/docs/reference/playbook.md", encoding: .utf8)
    for key in PlaybookKeys.play + PlaybookKeys.step { #expect(text.contains("| `\(key)` |"), "`\(key)` is missing") }
  }
}
