import LogicalDecoding
import Testing

@testable import StatementReplication

/// What is done about a row of the source's table of statements.
@Suite struct RecordedStatementTests {
  /// A row as the stream brings it.
  private func statement(
    _ event: String, _ tag: String, _ command: String?, problem: String? = nil, settings: String = "{}"
  ) throws -> RecordedStatement {
    func value(_ text: String?) -> String {
      text.map { "'\($0.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''"))'" } ?? "null"
    }
    let record = Array(
      """
      table s.statement: INSERT: event[text]:\(value(event)) tag[text]:\(value(tag)) command[text]:\(value(command)) \
      objects[text]:'table public.t' problem[text]:\(value(problem)) role[text]:'alice' superuser[boolean]:false \
      settings[text]:\(value(settings))
      """.utf8)
    var parser = TestDecodingParser()
    return try record.withUnsafeBytes { bytes in
      _ = try parser.parse(bytes)
      let columns = try #require(parser.newColumns)
      return try #require(RecordedStatement(columns, names: parser.tupleNames(of: bytes), of: bytes))
    }
  }

  @Test func whatIsOnTheListIsRunAtItsEnd() throws {
    let create = "CREATE TABLE t (note text DEFAULT 'it''s')"
    #expect(try statement("ddl_command_end", "CREATE TABLE", create).action(begun: nil) == .run(Array(create.utf8)))
    let drop = try statement("sql_drop", "DROP TABLE", "DROP TABLE t")
    #expect(drop.action(begun: nil) == .run(Array("DROP TABLE t".utf8)))
    let index = try statement("ddl_command_end", "CREATE INDEX", "CREATE INDEX CONCURRENTLY i ON t (a)")
    #expect(index.action(begun: nil) == .run(Array("CREATE INDEX i ON t (a)".utf8)))
  }

  @Test func whatBelongsToASessionIsPassedOver() throws {
    let temporary = "CREATE TEMP TABLE t ()"
    #expect(try statement("ddl_command_end", "CREATE TABLE", temporary).action(begun: nil) == .nothing)
    // Even where the source's trigger does not vouch for its text.
    let marked = try statement("ddl_command_end", "CREATE TABLE", temporary, problem: "it ran inside a function")
    #expect(marked.action(begun: nil) == .nothing)
  }

  @Test func everythingElseIsRefused() throws {
    let unlisted = try statement("ddl_command_end", "CREATE EXTENSION", nil)
    #expect(unlisted.action(begun: nil) == .refuse("it is not on the list of what is carried over"))
    let inside = try statement(
      "ddl_command_end", "CREATE TABLE", "CREATE TABLE t ()", problem: "it ran inside a function")
    #expect(inside.action(begun: nil) == .refuse("it ran inside a function"))
  }

  /// CREATE TABLE AS: made without rows at its beginning, compared at its end.
  @Test func aStatementWithRowsIsMadeAtItsBeginning() throws {
    let text = "CREATE TABLE t AS SELECT 1 AS a"
    let begin = try statement("ddl_command_start", "CREATE TABLE AS", text)
    #expect(begin.action(begun: nil) == .run(Array((text + "\nWITH NO DATA").utf8)))
    let end = try statement("ddl_command_end", "CREATE TABLE AS", text)
    #expect(end.action(begun: Array(text.utf8)) == .compare)
    let unknown = StatementAction.refuse("its beginning is not in the stream")
    #expect(end.action(begun: nil) == unknown)
    #expect(end.action(begun: Array("CREATE TABLE u AS SELECT 1 AS a".utf8)) == unknown)
    let empty = text + " WITH NO DATA"
    let emptyBegin = try statement("ddl_command_start", "CREATE TABLE AS", empty)
    #expect(emptyBegin.action(begun: nil) == .run(Array(empty.utf8)))
  }

  /// It may be about a temporary table: its end says so, or what it is.
  @Test func aBeginningIsNeverRefused() throws {
    let begin = try statement("ddl_command_start", "CREATE TABLE AS", "SELECT f()")
    #expect(begin.action(begun: nil) == .nothing)
    let end = try statement("ddl_command_end", "CREATE TABLE AS", "SELECT f()")
    #expect(end.action(begun: nil) == .refuse("its text is of another statement: it ran inside a function or the like"))
  }

  @Test func settingsOfItsSessionCount() throws {
    let text = #"CREATE TABLE t (a text DEFAULT '\'; DROP TABLE u; --')"#
    let off = #"{"standard_conforming_strings": "off"}"#
    let read = try statement("ddl_command_end", "CREATE TABLE", text, settings: off)
    #expect(read.action(begun: nil) == .run(Array(text.utf8)))
    guard case .refuse = try statement("ddl_command_end", "CREATE TABLE", text).action(begun: nil) else {
      Issue.record("a text of two statements is carried over")
      return
    }
  }

  /// There may be passwords in it.
  @Test func noConstantAndNoRefusedTextIsShown() throws {
    let shown = try statement("ddl_command_end", "COMMENT", "COMMENT ON TABLE t IS 'secret'").description
    #expect(shown == "COMMENT of table public.t by alice: COMMENT ON TABLE t IS '…'")
    let refused = try statement("ddl_command_end", "CREATE TABLE", "SELECT f('secret')").description
    #expect(refused == "CREATE TABLE of table public.t by alice")
  }
}
