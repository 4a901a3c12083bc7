import Inventory
import Playbook
import ReplicationModel
import Testing

@Suite struct RecapTextTests {
  @Test func theWholeReport() {
    var first = MigrationRecap(name: "chef-eu", outcome: .failed)
    first.steps = [
      StepRecap(play: "cutover", step: "wait_for_lag", outcome: .alreadyDone, duration: .milliseconds(40)),
      StepRecap(
        play: "cutover", step: "fence",
        outcome: .ran(StepResult(changed: true, "no writer left", figures: [StepFigure("sessions ended", 3)])),
        duration: .milliseconds(1250)),
      StepRecap(
        play: "cutover", step: "drain",
        outcome: .ran(
          StepResult(
            changed: false, "", figures: [StepFigure("applied", 1_600_000_000, .bytes)],
            databases: [
              DatabaseRecord("app", duration: .seconds(160), bytes: 1_500_000_000),
              DatabaseRecord("idle", duration: .zero, bytes: 0), DatabaseRecord("unknown"),
            ])),
        duration: .seconds(185), hosts: ["old", "new"]),
      StepRecap(
        play: "cutover", step: "verify", outcome: .failed, duration: .seconds(7380), hosts: ["new"],
        isUnreachable: true),
      StepRecap(play: "cutover", step: "extra", outcome: .notMeant(reason: "when big: big is false"), duration: .zero),
    ]
    first.error = ConvoyError(
      "verify.mismatch", "public.users differs", at: .step(migration: "chef-eu", host: nil, step: "verify"),
      hint: "look at the report")
    first.undone = [
      UndoRecord(step: "drain", result: .nothingToUndo), UndoRecord(step: "fence", result: .undone("lifted the fence")),
    ]
    let second = MigrationRecap(name: "shop", outcome: .notStarted)
    #expect(
      RecapText.render(PlayRecap(check: false, migrations: [first, second])) == """
        PLAY RECAP
        MIGRATION  OUTCOME      CHANGED  ALREADY DONE  TIME
        chef-eu    failed       1        1             2h06m
        shop       not started  0        0             -

        HOST  OK  CHANGED  FAILED  UNREACHABLE
        old   1   0        0       0
        new   1   0        0       1

        chef-eu
          wait_for_lag  already done  0.0s
          fence         changed       1.3s   no writer left, 3 sessions ended
          drain         ok            3m05s  1.4 GB applied, 8.2 MB/s
            app                       2m40s  1.3 GB, 8.9 MB/s
            idle                      0.0s   0 B
            unknown
          verify        failed        2h03m
          extra         not meant     0.0s   when big: big is false
          undone fence: lifted the fence
          error: migration chef-eu, step verify: public.users differs [verify.mismatch]
          hint: look at the report

        """)
  }

  @Test func checkModeAndWhatWasLeftDone() {
    var migration = MigrationRecap(name: "m", outcome: .ok)
    migration.steps = [
      StepRecap(play: "p", step: "a", outcome: .wouldRun(actions: 1), duration: .zero),
      StepRecap(play: "p", step: "b", outcome: .wouldRun(actions: 4), duration: .zero),
    ]
    migration.leftDone = ["x", "y"]
    migration.leftDoneReason = "y is the point of no return"
    migration.undone = [UndoRecord(step: "z", error: ConvoyError("t.x", "it broke"))]
    #expect(
      RecapText.render(PlayRecap(check: true, migrations: [migration])) == """
        PLAY RECAP (check mode: nothing was changed)
        MIGRATION  OUTCOME  WOULD RUN  ALREADY DONE  TIME
        m          ok       2          0             0.0s

        m
          a  would run  0.0s  1 action
          b  would run  0.0s  4 actions
          undoing z failed: it broke [t.x]
          not undone: x, y (y is the point of no return)

        """)
  }
}

@Suite struct PlayEventTextTests {
  let position = StepPosition(play: "p", migration: "m", step: "fence", number: 3, count: 10)

  @Test func aPlanWithADiff() {
    let actions = [
      PlannedAction(host: "old", .command, "pg_ctl reload"),
      PlannedAction(host: "old", .sql(database: "app"), "SELECT 1"),
      PlannedAction(host: "old", .file(old: "a\nb\nc\n", new: "a\nx\nc\n"), "/etc/pg_hba.conf"),
      PlannedAction(.file(old: nil, new: "n\n"), "/tmp/new"),
      PlannedAction(.file(old: "o\n", new: nil), "/tmp/old"),
      PlannedAction(.wait, "until nobody is left"),
      PlannedAction(.note, "one\ntwo"),
    ]
    #expect(
      PlayEventText(diff: true).lines(.stepWouldRun(position, actions)) == [
        "[m] fence: would run",
        "  run on old: pg_ctl reload",
        "  sql on old, database app: SELECT 1",
        "  change on old: /etc/pg_hba.conf",
        "    @@ -1,3 +1,3 @@", "     a", "    -b", "    +x", "     c",
        "  create: /tmp/new", "    @@ -0,0 +1,1 @@", "    +n",
        "  remove: /tmp/old", "    @@ -1,1 +0,0 @@", "    -o",
        "  wait: until nobody is left",
        "  note:", "    one", "    two",
      ])
    #expect(PlayEventText(diff: false).lines(.stepWouldRun(position, [actions[2]])).count == 2)
  }

  @Test(arguments: [
    (PlayEvent.playStarted(play: "cutover", migrations: ["a", "b"], check: true), ["PLAY cutover (check mode): a, b"]),
    (.batchStarted(play: "p", number: 1, count: 1, migrations: ["a"]), []),
    (.batchStarted(play: "p", number: 1, count: 2, migrations: ["a"]), ["BATCH 1 of 2: a"]),
    (.notStarted(play: "p", migrations: ["b"]), ["not started in p: b"]),
    (.undoStopped(play: "p", migration: "m", steps: ["a"], reason: "r"), ["[m] not undone: a (r)"]),
    (.migrationFinished(play: "p", migration: "m", .ok), []),
    (.migrationFinished(play: "p", migration: "m", .interrupted), ["[m] interrupted"]),
    (
      .migrationFailed(
        StepPosition(play: "p", migration: "m", step: "a", number: 1, count: 1), ConvoyError("a.b", "no")),
      ["[m] failed before its first step", "error: no [a.b]"]
    ),
  ])
  func events(_ event: PlayEvent, _ expected: [String]) {
    #expect(PlayEventText(diff: false).lines(event) == expected)
  }

  @Test func eventsOfAStep() {
    let text = PlayEventText(diff: false)
    #expect(text.lines(.stepStarted(position)) == ["[m] fence (3/10)"])
    #expect(text.lines(.stepAlreadyDone(position)) == ["[m] fence: already done"])
    #expect(text.lines(.progress(position, "2 left")) == ["[m] fence: 2 left"])
    #expect(
      text.lines(.stepFinished(position, StepResult(changed: true, "closed"), .seconds(2)))
        == ["[m] fence: changed in 2.0s: closed"])
    #expect(
      text.lines(.stepFailed(position, ConvoyError("a.b", "no", hint: "try"), .seconds(2)))
        == ["[m] fence: failed after 2.0s", "error: no [a.b]", "hint: try"])
    #expect(text.lines(.undoing(position)) == ["[m] fence: undoing"])
    #expect(text.lines(.undone(position, .undone("lifted"))) == ["[m] fence: undone: lifted"])
    #expect(text.lines(.undone(position, .nothingToUndo)) == [])
  }
}
