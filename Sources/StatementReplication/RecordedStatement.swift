package import LogicalDecoding

/// A row of the source's protected table: one statement, or its beginning. Texts are in the database's encoding.
package struct RecordedStatement {
  package enum Event: String {
    /// Before the rows of a `CREATE TABLE AS` or `CREATE MATERIALIZED VIEW`.
    case start = "ddl_command_start"
    case end = "ddl_command_end"
    case drop = "sql_drop"
  }

  package var event: Event
  package var tag: String
  /// Absent where the tag is not on the list, or `problem` says why the text is of no use.
  package var command: [UInt8]?
  /// `table public.orders, sequence public.orders_id_seq`
  var objects: String
  /// Why the source's trigger does not vouch for the text.
  var problem: String?
  /// Whose statement it was.
  var role: [UInt8]
  var isSuperuser: Bool
  /// An object of the session's settings, as JSON.
  var settings: [UInt8]
  /// Arrays as PostgreSQL prints them: what `StatementOutcome` is asked about.
  var relations: [UInt8]?
  var columns: [UInt8]?
  var rewritten: [UInt8]?
  var outcome: [UInt8]?

  /// Nil when the row is none of `StatementRecorder`'s.
  package init?(_ columns: [DecodedColumn], names: TupleNames, of record: UnsafeRawBufferPointer) {
    var values: [String: [UInt8]] = [:]
    for column in columns where column.form != .null {
      var value: [UInt8] = []
      appendValue(column, of: record, to: &value)
      values[unquotedIdentifier(column.name, in: names.bytes)] = value
    }
    func text(_ name: String) -> String? { values[name].map { String(decoding: $0, as: UTF8.self) } }
    guard let event = text("event").flatMap({ Event(rawValue: $0) }), let tag = text("tag"), let role = values["role"],
      let superuser = text("superuser"), let settings = values["settings"]
    else { return nil }
    self.event = event
    self.tag = tag
    self.role = role
    self.settings = settings
    isSuperuser = superuser.hasPrefix("t")
    command = values["command"]
    objects = text("objects") ?? ""
    problem = text("problem")
    relations = values["relations"]
    self.columns = values["columns"]
    rewritten = values["rewritten"]
    outcome = values["outcome"]
  }

  /// `standard_conforming_strings` of the session. (The only setting that is asked for here; names are quoted in JSON.)
  var hasStandardStrings: Bool {
    !String(decoding: settings, as: UTF8.self).contains("\"standard_conforming_strings\": \"off\"")
  }

  package var verdict: StatementVerdict {
    guard let command else { return .refuse(problem ?? "it is not on the list of what is carried over") }
    let verdict = StatementList.judge(tag: tag, command: command, standardStrings: hasStandardStrings)
    if verdict != .passOver, let problem { return .refuse(problem) }
    return verdict
  }

  /// What is done about it on the target.
  ///
  /// - Parameter begun: the text of a statement whose beginning has been carried out, and whose rows have come since.
  package func action(begun: [UInt8]?) -> StatementAction {
    switch (event, verdict) {
    case (_, .passOver): .nothing
    case (.start, .refuse):
      // It may be about a temporary table: its end says so, or what it is.
      .nothing
    case (_, .refuse(let reason)): .refuse(reason)
    case (_, .runInstead(let text)), (.start, .runWithoutData(let text)): .run(text)
    case (.start, .run): .run(command ?? [])
    case (_, .runWithoutData), (_, .run):
      if !StatementList.tagsWithRows.contains(tag) {
        .run(command ?? [])
      } else if begun == command {
        .compare
      } else {
        .refuse("its beginning is not in the stream")
      }
    }
  }

  /// `CREATE INDEX of index public.i by alice: CREATE INDEX i ON t (a)`. Constants are not
  /// shown, nor a text that is refused: there may be passwords in it.
  package var description: String {
    var words = tag
    if !objects.isEmpty { words += " of \(objects)" }
    words += " by \(String(decoding: role, as: UTF8.self))"
    guard let command, verdict.isReadable,
      let text = StatementText(command, standardStrings: hasStandardStrings)?.shown
    else { return words }
    return words + ": " + (text.count > 200 ? text.prefix(199) + "…" : text)
  }
}

/// What the target does about a row of the source's table of statements.
package enum StatementAction: Sendable, Equatable {
  case nothing
  /// Carries this text out, in the transaction of the statement's rows, and compares.
  case run([UInt8])
  /// Its beginning has been carried out, and its rows are there: compares what it came to.
  case compare
  /// Parks its database, for this reason.
  case refuse(String)
}

extension StatementVerdict {
  fileprivate var isReadable: Bool {
    if case .refuse = self { return false }
    return true
  }
}
