import TestSupport
import Testing

/// `pgconvoy init` and what `pgconvoy inventory` says of the files that it wrote.
@Suite struct Init {
  private let written = """
    wrote d/inventory.yml
    wrote d/playbooks/cutover.yml
    wrote d/playbooks/migrate.yml

    """

  @Test func writesAnInventoryThatLoads() throws {
    let workspace = try TemporaryDirectory("cli")
    let result = try workspace.run("init", "d")
    #expect(result.status == 0)
    #expect(result.errors == "")
    let lines = result.output.split(separator: "\n").map(String.init)
    for line in written.split(separator: "\n").map(String.init) { #expect(lines.contains(line), "\(line)") }
    #expect(lines.last == "next: fill in d/inventory.yml, then 'pgconvoy check -i d/inventory.yml'")
    for line in lines.dropLast() { #expect(workspace.exists(String(line.dropFirst("wrote ".count))), "\(line)") }

    let list = try workspace.run("inventory", "list", "-i", "d/inventory.yml")
    #expect(list.status == 0)
    #expect(list.errors == "")
    #expect(
      list.output == """
        MIGRATION  SOURCE                     TARGET                     DATABASES  GROUPS
        chef-eu    chef-old (10.0.1.10:5432)  chef-new (10.0.1.20:5432)  all        eu

        """)
  }

  /// Every playbook names only steps that there are; a wrong --start-at says so without touching anything.
  @Test func writesPlaybooksThatLoad() throws {
    let workspace = try TemporaryDirectory("cli")
    let lines = try workspace.run("init", ".").output.split(separator: "\n")
    let playbooks = lines.filter { $0.contains("/playbooks/") }.map { String($0.dropFirst("wrote ".count)) }
    #expect(playbooks.count >= 3)
    for playbook in playbooks {
      let result = try workspace.run("play", playbook, "-i", "inventory.yml", "--start-at", "nowhere")
      #expect(result.status == 2)
      #expect(result.errorLines.first == "error: \(playbook): no step 'nowhere' to start at [playbook.unknown-start]")
    }
  }

  @Test func neverOverwrites() throws {
    let workspace = try TemporaryDirectory("cli")
    _ = try workspace.run("init", "d")
    try workspace.write("mine\n", to: "d/inventory.yml")
    let result = try workspace.run("init", "d")
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(
      result.errorLines == [
        "error: d/inventory.yml: there is a file already [init.exists]", "hint: choose an empty directory",
      ])
    #expect(try workspace.read("d/inventory.yml") == "mine\n")
  }

  @Test func aDirectoryThatCannotBeMade() throws {
    let result = try TemporaryDirectory("cli").run("init", "/proc/nowhere")
    #expect(result.status == 2)
    #expect(result.errorLines.first?.hasPrefix("error: /proc/nowhere: cannot make the directory") == true)
    #expect(result.errorLines.first?.hasSuffix("[init.unwritable]") == true)
  }

  @Test func showSaysWhereEachValueCameFrom() throws {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write(deadInventory, to: "inventory.yml")
    let result = try workspace.run("inventory", "show", "one", "-i", "inventory.yml")
    #expect(result.status == 0)
    let lines = result.output.split(separator: "\n").map(String.init)
    #expect(lines.first == "host one  (inventory.yml:2)")
    let words = lines.map { $0.split(separator: " ").joined(separator: " ") }
    #expect(words.contains("address 127.0.0.1 inventory.yml:2"))
    #expect(words.contains("ssh.port 1 inventory.yml:2"))
    #expect(words.contains("postgres.sslmode prefer built in"))
  }

  @Test func showOfAnUnknownNameListsTheKnownOnes() throws {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write(deadInventory, to: "inventory.yml")
    let result = try workspace.run("inventory", "show", "nobody", "-i", "inventory.yml")
    #expect(result.status == 2)
    #expect(
      result.errorLines == [
        "error: inventory.yml: nothing is called 'nobody' [inventory.unknown-name]", "hint: known: one, two, m",
      ])
  }
}
