import TestSupport
import Testing

/// `pgconvoy decode`: text in, one JSON object a line out.
@Suite struct Decode {
  private let transaction = """
    BEGIN 7
    table public.t: INSERT: id[integer]:1 a[text]:'it''s
    two lines'
    COMMIT 7 (at 2026-11-23 05:00:00.123456+00)

    """

  private let decoded = #"""
    {"kind":"begin","xid":7}
    {"kind":"insert","schema":"public","table":"t","new":[{"name":"id","type":"integer","value":"1"},{"name":"a","type":"text","value":"it's\ntwo lines"}]}
    {"kind":"commit","xid":7,"timestamp":"2026-11-23 05:00:00.123456+00"}

    """#

  @Test func goodInput() throws {
    let result = try TemporaryDirectory("cli").run("decode", input: transaction)
    #expect(result.status == 0)
    #expect(result.output == decoded)
    #expect(result.errors == "")
  }

  @Test func noInput() throws {
    let result = try TemporaryDirectory("cli").run("decode")
    #expect(result.status == 0)
    #expect(result.output == "")
    #expect(result.errors == "")
  }

  /// What was whole before the mistake is out, and the mistake is placed.
  @Test func badInputComesAfterWhatWasGood() throws {
    let result = try TemporaryDirectory("cli").run("decode", input: transaction + "nonsense\n")
    #expect(result.status == 1)
    #expect(result.output == decoded)
    #expect(
      result.errorLines == [
        "error: line 5, byte \(transaction.utf8.count): expected the start of a record [decode.malformed]",
        "hint: decode reads what pg_recvlogical wrote with the plugin test_decoding, unchanged",
      ])
  }

  @Test func inputThatEndsInAValue() throws {
    let result = try TemporaryDirectory("cli").run("decode", input: "BEGIN 7\ntable public.t: INSERT: a[text]:'never")
    #expect(result.status == 1)
    #expect(result.output == #"{"kind":"begin","xid":7}"# + "\n")
    #expect(result.errorLines.first?.hasPrefix("error: line 2, byte ") == true)
  }

  /// More than any buffer on the way.
  @Test func muchInput() throws {
    let result = try TemporaryDirectory("cli").run("decode", input: String(repeating: transaction, count: 20_000))
    #expect(result.status == 0)
    #expect(result.output.utf8.count == decoded.utf8.count * 20_000)
  }

  /// Not the same as an input without records.
  @Test func inputThatCannotBeRead() throws {
    let result = try TemporaryDirectory("cli").run(script: "exec \"$0\" decode <.")
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(
      result.errorLines == [
        "error: cannot read standard input: Is a directory [decode.unreadable]",
        "hint: give it a file or a pipe: pgconvoy decode < changes.txt",
      ])
  }

  @Test(arguments: ["decode", "inventory show m -i inventory.yml"])
  func outputThatIsLost(command: String) throws {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write(deadInventory, to: "inventory.yml")
    let result = try workspace.run(script: "echo BEGIN 1 | \"$0\" \(command) >/dev/full")
    #expect(result.status == 1)
    #expect(
      result.errorLines == [
        "error: standard output did not take all of it: No space left on device [output.failed]",
        "hint: is the disk full? What has come out is incomplete",
      ])
  }

  @Test func aReaderThatLeavesEarly() throws {
    let workspace = try TemporaryDirectory("cli")
    try workspace.write(String(repeating: transaction, count: 20_000), to: "changes.txt")
    let result = try workspace.run(script: "\"$0\" decode <changes.txt | head -n 1")
    #expect(result.status == 0)
    #expect(result.output == #"{"kind":"begin","xid":7}"# + "\n")
    #expect(result.errors == "")
  }
}
