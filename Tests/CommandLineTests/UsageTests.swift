import TestSupport
import Testing

/// Wrong usage: exit status 2, one lowercase line with a code, and what to do.
@Suite struct Usage {
  @Test func versionIsOneLine() throws {
    let result = try TemporaryDirectory("cli").run("--version")
    #expect(result.status == 0)
    #expect(result.output == "0.1.0\n")
    #expect(result.errors == "")
  }

  @Test(arguments: [[], ["help"], ["--help"]])
  func helpNamesEveryCommandAndTheExitStatus(arguments: [String]) throws {
    let workspace = try TemporaryDirectory("cli")
    let result = try arguments.first.map { try workspace.run($0) } ?? workspace.run()
    #expect(result.status == 0)
    #expect(result.errors == "")
    for command in [
      "init", "check", "play", "sync", "status", "verify", "report", "adopt", "decode", "inventory", "lab",
    ] {
      #expect(result.output.contains("\n  \(command) "), "\(command)")
    }
    #expect(result.output.contains("2 wrong usage"))
  }

  @Test(
    arguments: [
      ("status", "How to show it. (values: table, json, prometheus; default: table)"),
      ("verify", "How to show it. (values: table, json; default: table)"),
      ("report", "How to show it. (values: text, json, markdown, html; default: text)"),
      ("check", "How to write log lines. (values: text, json; default: text)"),
    ])
  func helpListsTheFormatsOnce(command: String, line: String) throws {
    let result = try TemporaryDirectory("cli").run([command, "--help"])
    #expect(result.output.split { $0 == " " || $0 == "\n" }.joined(separator: " ").contains(line))
  }

  @Test(
    arguments: [
      (["--bogus"], "error: unknown option '--bogus' [usage]"),
      (["bogus"], "error: unexpected argument 'bogus' [usage]"),
      (["play"], "error: missing expected argument '<playbook>' [usage]"),
      (["status"], "error: missing expected argument '--inventory <file>' [usage]"),
      (
        ["play", "a.yml", "-i", "b.yml", "--forks", "x"],
        "error: the value 'x' is invalid for '--forks <number>' [usage]"
      ),
      (["status", "--watc", "-i", "b.yml"], "error: unknown option '--watc'. Did you mean '--watch'? [usage]"),
    ])
  func mistakesAreOneLineAndAHint(arguments: [String], line: String) throws {
    let result = try TemporaryDirectory("cli").run(arguments)
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(result.errorLines == [line, "hint: see 'pgconvoy help' or 'pgconvoy help COMMAND'"])
  }

  @Test(arguments: [["status"], ["check"], ["inventory", "list"], ["sync"], ["report"], ["adopt"], ["play", "p.yml"]])
  func anInventoryThatIsMissingIsNamed(command: [String]) throws {
    let result = try TemporaryDirectory("cli").run(command + ["-i", "nowhere.yml"])
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(
      result.errorLines.first
        == "error: nowhere.yml: cannot read the file: no such file or directory [yaml.unreadable]")
  }

  @Test(arguments: [["status"], ["check"], ["inventory", "list"], ["sync"], ["report"], ["adopt"], ["play", "p.yml"]])
  func badYAMLIsPlacedByLineAndColumn(command: [String]) throws {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write("hosts:\n  a: { address: [\n", to: "bad.yml")
    let result = try workspace.run(command + ["-i", "bad.yml"])
    #expect(result.status == 2)
    #expect(
      result.errorLines.first
        == "error: bad.yml:3:1: not valid YAML: while parsing a flow node, did not find expected node content [yaml.syntax]"
    )
    #expect(!workspace.exists(".pgconvoy"))
  }

  @Test func everyMistakeOfAnInventoryIsShownAtOnce() throws {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write(
      """
      hosts:
        one: { adress: 10.0.0.1 }
        two: { addres: 10.0.0.2 }
      migrations:
        m: { source: one, target: two, servces: [] }

      """, to: "inventory.yml")
    let result = try workspace.run("inventory", "list", "-i", "inventory.yml")
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(
      result.errors == """
        error: inventory.yml:2:10: unknown key 'adress' in host one [inventory.unknown-key]
        hint: did you mean 'address'?
        error: inventory.yml:3:10: unknown key 'addres' in host two [inventory.unknown-key]
        hint: did you mean 'address'?
        error: inventory.yml:5:34: unknown key 'servces' in migration m [inventory.unknown-key]
        hint: did you mean 'services'?

        """)
  }
}
