import Foundation
import Inventory
import ReplicationModel
import TestSupport
import Testing

@Suite struct YAMLDocumentTests {
  private func failure(_ text: String) -> String {
    do {
      _ = try YAMLDocument.parse(text, path: "f.yml")
      return "no error"
    } catch {
      return error.description
    }
  }

  @Test(arguments: [
    ("", "error: f.yml:1:1: the file is empty [yaml.empty]"),
    ("# nothing\n", "error: f.yml:1:1: the file is empty [yaml.empty]"),
    ("---\n", "error: f.yml:1:1: the file is empty [yaml.empty]"),
    (
      "a: 1\nb: 2\na: 3\n",
      """
      error: f.yml:3:1: key 'a' is set twice [yaml.duplicate-key]
      hint: it is set first in line 1; keep one of the two
      """
    ),
    (
      "x:\n  - { port: 1, 'port': 2 }\n",
      """
      error: f.yml:2:16: key 'port' is set twice [yaml.duplicate-key]
      hint: it is set first in line 2; keep one of the two
      """
    ),
    (
      "k: 1\nk: 2\nk: 3\n",
      """
      error: f.yml:2:1: key 'k' is set twice [yaml.duplicate-key]
      hint: it is set first in line 1; keep one of the two
      """
    ),
    (
      "5432: 1\n\"5432\": 2\n",
      """
      error: f.yml:2:1: key '5432' is set twice [yaml.duplicate-key]
      hint: it is set first in line 1; keep one of the two
      """
    ),
    (
      "a: [1, 2\nb: 3\n",
      "error: f.yml:2:2: not valid YAML: while parsing a flow sequence, did not find expected ',' or ']' [yaml.syntax]"
    ),
    (
      "a:\n\tb: 1\n",
      """
      error: f.yml:2:1: not valid YAML: while scanning for the next token, found character that cannot start any token [yaml.syntax]
      hint: indent with spaces, YAML takes no tabs
      """
    ),
    ("a: *b\n", "error: f.yml:1:4: not valid YAML: found undefined alias [yaml.syntax]"),
    ("a: \u{1}\n", "error: f.yml:1:4: not valid YAML: control characters are not allowed [yaml.syntax]"),
    (
      "a: 1\n---\nb: 1\n",
      "error: f.yml:2:1: not valid YAML: expected a single document in the stream, but found another document [yaml.syntax]"
    ),
    ("? [a]\n: 1\n", "error: f.yml:1:3: a key must be a plain name [yaml.bad-key]"),
    ("<<: 1\na: 2\n", "error: f.yml:1:1: '<<' takes a mapping, or a list of mappings [yaml.bad-merge]"),
  ])
  func mistakes(_ text: String, _ expected: String) {
    #expect(failure(text) == expected)
  }

  @Test func deepNestingIsAnErrorNotACrash() {
    #expect(failure(String(repeating: "[", count: 20_000)).contains("[yaml.syntax]"))
    #expect(failure(String(repeating: "- ", count: 20_000)).contains("[yaml.syntax]"))
  }

  @Test func aliasesThatMultiplyAreRefused() {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...8 {
      let aliases = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      text += "a\(level): &a\(level) [\(aliases)]\n"
    }
    #expect(failure(text).contains("the file holds more than 500000 values [yaml.too-large]"))
  }

  @Test func unreadableFiles() throws {
    #expect(
      throws: InputErrors(
        ConvoyError(
          "yaml.unreadable", "cannot read the file: no such file or directory", at: .path("/nowhere/x.yml"),
          kind: .usage))
    ) { try YAMLDocument.read(path: "/nowhere/x.yml") }
    #expect(
      throws: InputErrors(
        ConvoyError("yaml.unreadable", "cannot read the file: is a directory", at: .path("/tmp"), kind: .usage))
    ) { try YAMLDocument.read(path: "/tmp") }
    let directory = try TemporaryDirectory("inventory")
    let path = URL(filePath: directory.path + "/latin1.yml")
    try Data([0x61, 0x3A, 0x20, 0xFF]).write(to: path)
    #expect(
      throws: InputErrors(
        ConvoyError(
          "yaml.unreadable", "the file is not UTF-8 text", at: .path(path.path()), hint: "save it as UTF-8",
          kind: .usage))
    ) { try YAMLDocument.read(path: path.path()) }
  }

  @Test func placesAndTexts() throws {
    let root = try YAMLDocument.parse("\u{FEFF}ä: { b: 0644, c: yes }\nd:\n  - ~\n  - '~'\n", path: "f.yml")
    guard case .mapping(let entries) = root.content, case .mapping(let inner) = entries[0].value.content,
      case .sequence(let list) = entries[1].value.content
    else {
      Issue.record("not the shape that was written")
      return
    }
    #expect(inner.map(\.key) == ["b", "c"])
    #expect(inner[0].value.text == "0644")
    #expect(inner[0].place.description == "f.yml:1:6")
    #expect(inner[1].value.text == "yes")
    #expect(list[0].isNull && list[0].text == nil && list[0].place.description == "f.yml:3:5")
    #expect(!list[1].isNull && list[1].text == "~")
  }

  @Test func mergeKeys() throws {
    let root = try YAMLDocument.parse("base: &b { x: 1, y: 2 }\nhere: { <<: *b, y: 3 }\n", path: "f.yml")
    guard case .mapping(let entries) = root.content, case .mapping(let inner) = entries[1].value.content else {
      Issue.record("not a mapping")
      return
    }
    #expect(inner.map(\.key) == ["y", "x"])
    #expect(inner.map(\.value.text) == ["3", "1"])
    #expect(inner[1].place.line == 1)
  }
}

@Suite struct QuantityTests {
  @Test(arguments: [
    ("30", Duration.seconds(30)), ("30s", .seconds(30)), ("5m", .seconds(300)), ("5min", .seconds(300)),
    ("2h", .seconds(7200)), ("1d", .seconds(86_400)), ("250ms", .milliseconds(250)), ("1.5h", .seconds(5400)),
    ("0", .zero), ("10 s", .seconds(10)),
  ])
  func durations(_ text: String, _ expected: Duration) {
    #expect(Quantities.duration(text) == expected)
  }

  @Test(arguments: [
    ("100kB", UInt64(102_400)), ("16MB", 16_777_216), ("1GB", 1 << 30), ("1TB", 1 << 40), ("7", 7), ("7B", 7),
    ("1.5kB", 1536),
  ])
  func sizes(_ text: String, _ expected: UInt64) {
    #expect(Quantities.size(text) == expected)
  }

  @Test(arguments: ["", "-1", "s", "5x", "1e3", "0x10", ".5", "5.", "1.2.3", "٣", "99999999999999999999999999"])
  func neither(_ text: String) {
    #expect(Quantities.duration(text) == nil)
    #expect(Quantities.size(text) == nil)
  }

  @Test(arguments: ["90s", "5m", "2h", "1d", "250ms", "0s"])
  func durationsReadBack(_ text: String) throws {
    #expect(Quantities.text(try #require(Quantities.duration(text))) == text)
  }

  @Test(arguments: ["1000B", "100kB", "16MB", "3GB", "2TB", "0B"])
  func sizesReadBack(_ text: String) throws {
    #expect(Quantities.text(bytes: try #require(Quantities.size(text))) == text)
  }
}

@Suite struct GlobTests {
  @Test(arguments: [
    ("chef", "chef", true), ("chef", "Chef", false), ("chef", "chef1", false), ("*", "", true), ("", "", true),
    ("", "a", false), ("chef-*", "chef-eu", true), ("chef-*", "chef", false), ("*-eu", "a-b-eu", true),
    ("a?c", "abc", true), ("a?c", "ac", false), ("[a-c]x", "bx", true), ("[a-c]x", "dx", false),
    ("[!a-c]x", "dx", true), ("[^a]", "a", false), ("[]a]", "]", true), ("[a", "[a", true), ("[a-]", "-", true),
    ("[c-a]", "b", false), ("\\*", "*", true), ("\\*", "x", false), ("a\\", "a\\", true), ("?", "é", true),
    ("**a**", "bab", true), ("*a*b*c*", "xaxbxcx", true), ("*a*b*c*", "xaxcxbx", false),
  ])
  func matching(_ pattern: String, _ name: String, _ expected: Bool) {
    #expect(Glob(pattern).matches(name) == expected)
  }

  @Test(.timeLimit(.minutes(1))) func manyStarsAreNotExponential() {
    let pattern = String(repeating: "a*", count: 40) + "b"
    #expect(!Glob(pattern).matches(String(repeating: "a", count: 4000)))
  }
}
