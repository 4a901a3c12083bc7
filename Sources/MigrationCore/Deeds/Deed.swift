package import Inventory
package import PostgresClient
package import RemoteHost
package import ReplicationModel

/// One thing that a step does, as a value.
///
/// A step returns the list of its deeds. `DeedAnnouncer` says what they are, `DeedPerformer` carries them out and writes
/// each into the journal: what `--check` prints and what a run does come from the same values. Everything that depends on
/// what an earlier deed finds says so as a value too: a `DeedValue.found` inside a statement, or deeds that are made
/// `later`, with what can be told of them now.
package indirect enum Deed: Sendable {
  /// A command on a host, or on this machine.
  case command(Side?, RemoteCommand)
  /// An SQL statement.
  case statement(StatementDeed)
  /// A file's content.
  case file(FileDeed)
  /// A command on a host of the inventory that need be neither side, by its name.
  case hosted(String, RemoteCommand)
  /// A file put whole on such a host, as its SSH user.
  case hostedFile(String, HostedFile)
  /// PostgreSQL of a side: a clean stop, or a start and the wait for its readiness. Our sessions there end before.
  case server(Side, ServerVerb)
  /// A service of the inventory's.
  case service(Side, String, ServerVerb)
  /// Rows that go from one side to the other.
  case transfer(Transfer)
  /// A wait, a look, or what has to be repeated until it holds.
  case procedure(Procedure)
  /// What a reader of the plan should know besides. Nothing is done.
  case note(Side?, String)
  /// What is looked at, judged or written down between two deeds. Shown to nobody: no server is different.
  case aside(Aside)
  /// One line for whoever watches, at this point.
  case say(String)
  /// Lists that do not depend on each other, so many at once.
  case together([[Deed]], atMost: Int)
  /// Lists of which each is done whatever becomes of the others. The first error is thrown when all of them are over.
  case each([[Deed]])
  /// Deeds beside which something is watched, and said, until they are done.
  case watching(Watch, [Deed])
  /// The deeds for one database, whose time is taken.
  case database(String, [Deed])
  /// Deeds that only what came before can name.
  case later(LaterDeeds)
  /// Deeds that must not stay half done: made and done anew, for a minute, when a connection breaks under them. So each of
  /// them can be done twice. The text says what they are, after "…: trying again".
  case holdingOn(String, LaterDeeds)

  package enum ServerVerb: String, Sendable { case start, stop }
}

/// Something that a deed finds, and a later one uses.
package struct Found<Value: Sendable>: Sendable {
  package let name: String
  /// What stands for it where it is not known yet: `<hand-off>`.
  package let placeholder: String

  package init(_ name: String, placeholder: String) {
    self.name = name
    self.placeholder = placeholder
  }
}

/// A statement's parameter.
package enum DeedValue: Sendable, ExpressibleByStringInterpolation {
  case text(String)
  /// What an earlier deed finds.
  case found(Found<String>)

  package init(stringLiteral value: String) { self = .text(value) }
}

/// One SQL statement, with its parameters.
package struct StatementDeed: Sendable {
  /// In which session it runs.
  package enum Session: Sendable {
    /// The one that is kept for its database; where none is, one for this statement only.
    case kept
    /// One of its own, closed behind it, with these settings.
    case own([String: String])
  }

  package var side: Side
  /// Nil: the maintenance database.
  package var database: String?
  package var text: String
  package var values: [DeedValue]
  package var session: Session = .kept
  /// Whether it is DDL, which event triggers of users must not notice. Then it has no parameters.
  package var isDDL = false
  /// How long it may take; nil: as long as it takes.
  package var limit: Duration?
  /// Where its first column is kept.
  package var finds: Found<String>?
  /// Tried again while somebody still holds what it is about.
  package var patience: Patience?
  /// Errors that say that there is nothing to do.
  package var fine: Set<SQLState> = []
  /// What the server's error means to a person.
  package var explain: (@Sendable (PostgresError) async throws -> any Error)?

  package init(_ side: Side, database: String? = nil, _ text: String, _ values: [DeedValue] = []) {
    self.side = side
    self.database = database
    self.text = text
    self.values = values
  }

  /// What a statement about one table fails with when the table, or its schema, was dropped since it was listed.
  package static let tableIsGone: Set<SQLState> = [.undefinedTable, .undefinedSchema]
}

/// What a statement does while somebody holds its slot or its origin (55006): it waits for the end of a worker that has
/// just been stopped, or of what a killed process has left behind, for half a minute.
package struct Patience: Sendable {
  /// The slot's or origin's name.
  package var name: String
  /// Whether a walsender that still reads the slot is ended instead.
  package var cutsOff = false
  package var code: ConvoyError.Code = "way.in-use"
  package var hint = "is a sync process of another state directory still running?"

  package init(_ name: String) { self.name = name }

  /// For a slot that is to be dropped.
  package static func slot(_ name: String, cuttingOff: Bool) -> Patience {
    var patience = Patience(name)
    patience.cutsOff = cuttingOff
    patience.code = "slot.in-use"
    patience.hint = "is a pg_basebackup, a standby or a sync worker of an earlier run still connected?"
    return patience
  }
}

/// A change of one file on a host.
package struct FileDeed: Sendable {
  package enum Change: Sendable {
    /// Written whole, as the server's user, mode 0600.
    case whole(FileText)
    /// Its text changed, its owner and mode kept. `known` is what it will hold by then, where deeds before make it.
    case edit(known: String?, @Sendable (String) throws -> String)
  }

  package var side: Side
  package var path: String
  package var change: Change
}

/// A file on a host that need be neither side.
package struct HostedFile: Sendable {
  package var path: String
  package var mode: UInt16
  /// What can be shown of it: nil for a secret, and for what is no text.
  package var announced: String?
  package var make: @Sendable () async throws -> [UInt8]

  package init(
    _ path: String, mode: UInt16, announced: String? = nil, _ make: @escaping @Sendable () async throws -> [UInt8]
  ) {
    self.path = path
    self.mode = mode
    self.announced = announced
    self.make = make
  }

  /// A text that may be shown.
  package init(_ path: String, mode: UInt16, text: String) {
    self.init(path, mode: mode, announced: text) { Array(text.utf8) }
  }
}

/// A file's text to be.
package struct FileText: Sendable {
  /// Nil: known only when its turn comes.
  package var announced: String?
  package var make: @Sendable () async throws -> String

  /// Known now.
  package init(_ text: String) {
    announced = text
    make = { text }
  }

  /// - Parameter announced: what can be shown of it: asterisks for a secret, nil for what is not known yet.
  package init(announced: String?, _ make: @escaping @Sendable () async throws -> String) {
    self.announced = announced
    self.make = make
  }
}

/// A table's rows on their way: what reads them on one side, and what empties and fills the table on the other one.
package struct Transfer: Sendable {
  package var from: Side
  package var to: Side
  package var database: String
  package var reading: String
  package var emptying: String
  package var writing: String
  package var body: @Sendable (Findings) async throws -> Void

  package init(
    from: Side, to: Side, database: String, reading: String, emptying: String, writing: String,
    _ body: @escaping @Sendable (Findings) async throws -> Void
  ) {
    self.from = from
    self.to = to
    self.database = database
    self.reading = reading
    self.emptying = emptying
    self.writing = writing
    self.body = body
  }
}

/// What is no single command or statement: a wait for a condition, a comparison, an action repeated until it is done.
package struct Procedure: Sendable {
  package enum Kind: Sendable {
    case wait, look, act
    /// A statement that goes another way than through our sessions.
    case statement(database: String)
  }

  package var kind: Kind
  package var side: Side?
  package var text: String
  package var body: @Sendable (Findings) async throws -> Void

  package init(kind: Kind, side: Side?, text: String, _ body: @escaping @Sendable (Findings) async throws -> Void) {
    self.kind = kind
    self.side = side
    self.text = text
    self.body = body
  }
}

/// What happens between two deeds and changes no server.
package struct Aside: Sendable {
  package var body: @Sendable (Findings) async throws -> Void
}

/// What goes on beside deeds; cancelled when they are done. Its errors are nobody's.
package struct Watch: Sendable {
  package var body: @Sendable () async throws -> Void
}

/// Deeds that can be made only behind those before them.
package struct LaterDeeds: Sendable {
  /// As far as they can be told now. Asked in check mode only.
  package var announced: @Sendable () async throws -> [Deed]
  package var make: @Sendable (Findings) async throws -> [Deed]
}

extension Deed {
  /// A statement without more than its parameters.
  package static func sql(_ side: Side, database: String? = nil, _ text: String, _ values: [DeedValue] = []) -> Deed {
    .statement(StatementDeed(side, database: database, text, values))
  }

  /// DDL of our own inside a database, one or more statements in one transaction, which event triggers do not notice.
  package static func ddl(_ side: Side, database: String? = nil, _ text: String) -> Deed {
    var statement = StatementDeed(side, database: database, text)
    statement.isDDL = true
    return .statement(statement)
  }

  /// A file put in place whole, as the server's user, 0600.
  package static func write(_ side: Side, _ path: String, _ text: FileText) -> Deed {
    .file(FileDeed(side: side, path: path, change: .whole(text)))
  }

  /// A file's text changed, its owner and mode kept.
  ///
  /// - Parameter known: what it will hold by then, where deeds before make it.
  package static func edit(
    _ side: Side, _ path: String, known: String? = nil, _ edit: @escaping @Sendable (String) throws -> String
  ) -> Deed {
    .file(FileDeed(side: side, path: path, change: .edit(known: known, edit)))
  }

  /// A condition that is waited for.
  package static func wait(
    _ side: Side? = nil, _ text: String, _ body: @escaping @Sendable (Findings) async throws -> Void
  ) -> Deed {
    .procedure(Procedure(kind: .wait, side: side, text: text, body))
  }

  /// Something that is read and judged, and changes nothing.
  package static func look(
    _ side: Side? = nil, _ text: String, _ body: @escaping @Sendable (Findings) async throws -> Void
  ) -> Deed {
    .procedure(Procedure(kind: .look, side: side, text: text, body))
  }

  /// Something that is done to what is found then, again and again until nothing is left to do.
  package static func act(
    _ side: Side? = nil, _ text: String, _ body: @escaping @Sendable (Findings) async throws -> Void
  ) -> Deed {
    .procedure(Procedure(kind: .act, side: side, text: text, body))
  }

  package static func aside(_ body: @escaping @Sendable (Findings) async throws -> Void) -> Deed {
    .aside(Aside(body: body))
  }

  package static func watching(_ deeds: [Deed], _ body: @escaping @Sendable () async throws -> Void) -> Deed {
    .watching(Watch(body: body), deeds)
  }

  /// - Parameter announced: as far as they can be told now.
  package static func later(
    announced: @escaping @Sendable () async throws -> [Deed],
    _ make: @escaping @Sendable (Findings) async throws -> [Deed]
  ) -> Deed {
    .later(LaterDeeds(announced: announced, make: make))
  }

  /// Deeds that are made when it is their turn, and told as they would be made now: nothing before them changes them.
  package static func later(_ make: @escaping @Sendable () async throws -> [Deed]) -> Deed {
    .later(LaterDeeds(announced: make) { _ in try await make() })
  }

  /// Deeds that are told beforehand as they are made.
  package static func holdingOn(_ what: String, _ make: @escaping @Sendable () async throws -> [Deed]) -> Deed {
    .holdingOn(what, LaterDeeds(announced: make) { _ in try await make() })
  }
}
