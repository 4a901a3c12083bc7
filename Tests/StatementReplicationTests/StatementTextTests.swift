import Testing

@testable import StatementReplication

/// Where a statement ends, whatever stands in its quotes and comments.
@Suite struct StatementTextTests {
  @Test(arguments: [
    ("SELECT 1", 2), ("select;", 2), ("a ';' b", 3), ("a 'it''s; ' b", 3), ("E'\\';' a", 2), ("e'\\\\' ; a", 3),
    ("'\\' ; a", 3), ("U&'\\0041;' a", 2), ("n';' x';' b';' a", 4), ("\"a;\"\"b\" c", 2), ("U&\"a;\" c", 2),
    ("$$;$$ a", 2),
    ("$x$ ; $$ ; $X$ ; $x$ a", 2), ("a$x$ ; b$x$", 3), ("$1 ; $2", 3), ("/* ; /* ; */ ; */ a", 1), ("-- ; '\n a", 1),
    ("a -- ;\r b", 2), ("a +-- ;\n b", 3), ("a */* ; */ b", 3), ("'a' -- ;\n '; b' c", 2), ("E'a'\n'\\';' c", 2),
    ("'a' '; b' c", 3), ("é;ß", 3), ("1e5 ; 1.5;", 5), ("$a", 2), ("", 0), (" \t\n\u{0B}\u{0C}", 0),
  ])
  func tokens(of text: String, _ count: Int) throws {
    let read = try #require(StatementText(Array(text.utf8)))
    #expect(read.tokens.count == count, "\(text): \(read.tokens)")
  }

  @Test(arguments: ["'", "a 'b", "\"a", "E'\\'", "$$ a $", "$x$ a $y$", "/* /* */", "U&'a", "'a'\n'b"])
  func textThatDoesNotEndIsNotRead(_ text: String) {
    #expect(StatementText(Array(text.utf8)) == nil)
  }

  /// Off, a backslash escapes a quote in a plain string too.
  @Test func knowsNonstandardStrings() {
    let text = Array("'\\'; a' b".utf8)
    #expect(StatementText(text, standardStrings: false)?.tokens == [.string, .word("B")])
    #expect(StatementText(text, standardStrings: true) == nil)
  }

  @Test func showsNoConstants() throws {
    let text = "CREATE TABLE t (\n  a text DEFAULT 'secret', b text DEFAULT $$secret$$) -- secret"
    let shown = try #require(StatementText(Array(text.utf8))).shown
    #expect(shown == "CREATE TABLE t ( a text DEFAULT '…' , b text DEFAULT '…' )")
  }

  @Test func keepsWordsAndNames() {
    let text = StatementText(Array("create Table \"My \"\"t\" (a$1 int)".utf8))
    #expect(
      text?.tokens == [
        .word("CREATE"), .word("TABLE"), .quoted("My \"t"), .symbol("("), .word("A$1"), .word("INT"), .symbol(")"),
      ])
  }
}
