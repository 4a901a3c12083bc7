import BlockingIO
public import LogicalDecoding
import PostgresClient
public import ReplicationModel

/// What an applier has done since it was made.
public struct ApplyCounters: Sendable, Equatable {
  public var transactions: UInt64 = 0
  /// Row changes, and one for each TRUNCATE.
  public var changes: UInt64 = 0
  /// Updates and deletes that found no row, and inserts that stored none.
  public var missedRows: UInt64 = 0
  /// Rows of materialized views, which are rebuilt and not applied.
  public var skippedRows: UInt64 = 0

  public init() {}
}

/// How many changes go into one target transaction.
public struct BatchLimits: Sendable {
  public var changes: Int
  /// Bytes of parameters.
  public var bytes: Int

  public init(changes: Int = 5000, bytes: Int = 8 << 20) {
    self.changes = changes
    self.bytes = bytes
  }
}

/// Applies one database's stream to the target, exactly once and verbatim.
///
/// Source transactions are grouped: while more of the stream is at hand they go into one target transaction; when the
/// queue is dry the group is committed at once. The origin's progress moves in that same transaction, to the end of
/// the last COMMIT in it. Nothing after a COMMIT is sent before its answer has come: a commit that fails must not be
/// followed by changes that the next commit would then declare complete.
///
/// After any failure the session must be thrown away: the server rolls back, and the stream is read again from the
/// origin's progress.
public final class ChangeApplier<Parser: RecordParser> {
  /// The prefix of the messages that `pgconvoy` emits to find a point in a stream.
  public static var markerPrefix: String { "pgconvoy.marker" }
  /// The channel on the target where a marker's arrival is announced, in the transaction that moves progress past it.
  public static var markerChannel: String { "pgconvoy_marker" }

  public private(set) var counters = ApplyCounters()
  /// Progress: the position that the origin has, or will have when the server's WAL is flushed.
  public private(set) var recorded: LSN
  /// The part of `recorded` that survives a crash of the target.
  public private(set) var durable: LSN
  /// The commit time of the last applied transaction, as the stream prints it.
  public private(set) var lastCommitTime: String?

  private let session: ApplySession
  private var connection: PostgresConnection { session.connection }
  private var parser: Parser
  private let limits: BatchLimits
  /// Tells the announcements of this applier from those of an earlier one, whose counts it does not know.
  private let identity: String
  /// Everything committed before it is in the target, in the open group, or was empty.
  private var position: LSN
  private var layouts: [RelationLayout?] = []
  private var parameters = ParameterBuffer()
  private var preparedCount = 0

  private var sourceTransaction: UInt32?
  private var isInTransaction = false
  private var isGroupOpen = false
  private var groupChanges = 0
  private var groupBytes = 0
  private var groupTransactions: UInt64 = 0
  private var groupMarkers: [(nonce: String, changes: UInt64)] = []
  private var transactionMarkers: [(nonce: String, changes: UInt64)] = []
  private var expectations = ExpectationQueue()
  private var copyBuffer: [UInt8] = []
  private var seenChanges: UInt64 = 0
  private var missedInGroup: UInt64 = 0

  /// Whether more of the stream is waiting: then the next group goes in by set-based statements.
  public var hasBacklog = false
  /// Whether the group in hand does. A failure of such a group says little about the change that caused it: the
  /// stream has to be read again, with `strictUntil` beyond it.
  public private(set) var isBatching = false
  /// The last record that came in.
  public private(set) var lastRecord = LSN.invalid
  /// Where a replay of the group in hand may send sets again: behind all that came in, and behind the transaction that
  /// is under way, whose records may stand before the last COMMIT in the WAL.
  public var replayEnd: LSN { max(lastRecord, LSN(position.rawValue + 1)) }
  /// The transaction to leave out, which has a `commit` when progress is past it.
  public private(set) var steppedOver: SteppedOver?
  private var isSteppingOver = false
  private var hasSeenNamedRecord = false
  /// Up to here every source transaction is applied on its own, change by change in the stream's order.
  private let strictUntil: LSN
  /// Relations with changes that wait in their batches, in the order of their first one.
  private var pendingBatches: [RelationNumber] = []
  /// What waits in all of them: bounded, however many tables there are.
  private var waitingChanges = 0
  private var waitingBytes = 0

  /// - Parameters:
  ///   - start: the origin's progress, where the stream begins.
  ///   - identity: unique for this applier.
  ///   - strictUntil: no set-based statements before this position.
  ///   - steppingOver: a transaction to leave out. It is an error if it does not hold the record that is named.
  public init(
    session: ApplySession, parser: Parser, start: LSN, identity: String, limits: BatchLimits = BatchLimits(),
    strictUntil: LSN = .invalid, steppingOver: SteppedOver? = nil
  ) throws(ApplyFailure) {
    self.strictUntil = strictUntil
    steppedOver = steppingOver
    self.session = session
    self.parser = parser
    self.limits = limits
    self.identity = identity
    recorded = start
    durable = start
    position = start
    do throws(PostgresError) {
      let transactionID =
        session.connection.serverVersion >= 130000 ? "pg_current_xact_id()" : "txid_current()"
      for (name, sql) in [
        ("begin", "BEGIN"), ("commit", "COMMIT"),
        // Without a transaction id a commit (of updates that hit no row, say) writes no WAL and moves no progress.
        (
          "origin",
          """
          SELECT pg_catalog.\(transactionID),
                 pg_catalog.pg_replication_origin_xact_setup($1::pg_lsn, coalesce($2::timestamptz, now()))
          """
        ),
        ("durable", "SELECT pg_catalog.pg_replication_origin_session_progress(true)"),
        ("announce", "SELECT pg_catalog.pg_notify($1, $2)"),
      ] {
        try session.connection.pipelinePrepare(name: "pgconvoy_" + name, sql: sql)
        expectations.append(.plain)
      }
      try session.connection.pipelineSync()
      expectations.append(.sync)
    } catch {
      throw ApplyFailure(error)
    }
    try settle()
  }

  /// Whether the group holds anything that is not committed yet.
  public var hasOpenGroup: Bool { isGroupOpen }
  /// Whether the stream stands between a BEGIN and its COMMIT.
  public var isMidTransaction: Bool { isInTransaction }

  // MARK: the stream

  /// Applies one record of the stream.
  public func apply(lsn: LSN, record: UnsafeRawBufferPointer) throws(ApplyFailure) {
    lastRecord = max(lastRecord, lsn)
    let decoded: DecodedRecord
    do throws(MalformedRecord) {
      decoded = try parser.parse(record)
    } catch {
      if isSteppingOver {
        // Whatever it says, it is left out.
        hasSeenNamedRecord = hasSeenNamedRecord || lsn == steppedOver?.lsn
        return
      }
      let failure = ApplyFailure(.unreadable, "malformed record: \(error.reason) at byte \(error.offset)")
      throw failure.located(relation: nil, operation: nil, lsn: lsn, xid: sourceTransaction)
    }
    do throws(ApplyFailure) {
      try apply(decoded, lsn: lsn, record: record)
    } catch {
      throw error.located(
        relation: relation(of: decoded), operation: operation(of: decoded), lsn: lsn, xid: sourceTransaction)
    }
  }

  private func apply(_ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer) throws(ApplyFailure) {
    switch decoded {
    case .insert, .update, .delete, .truncate:
      guard isInTransaction else { throw ApplyFailure(.unreadable, "a change outside a transaction") }
      if isSteppingOver { return leaveOut(decoded, lsn: lsn) }
      try applyChange(decoded, lsn: lsn, record: record)
    case .begin(let xid):
      guard !isInTransaction else { throw ApplyFailure(.unreadable, "BEGIN inside a transaction") }
      isInTransaction = true
      sourceTransaction = xid
      isSteppingOver = xid == steppedOver?.xid && steppedOver?.commit == nil
      hasSeenNamedRecord = false
    case .commit(_, let timestamp):
      guard isInTransaction else { throw ApplyFailure(.unreadable, "COMMIT without its BEGIN") }
      isInTransaction = false
      if let timestamp {
        lastCommitTime = String(decoding: record[timestamp.start..<timestamp.end], as: UTF8.self)
      }
      if isSteppingOver { try endSteppingOver(lsn: lsn) } else { try endTransaction(lsn: lsn) }
      sourceTransaction = nil
    case .message(let transactional, let prefix, let content):
      guard transactional, isInTransaction, let nonce = markerNonce(prefix, content, record) else { return }
      transactionMarkers.append((nonce, seenChanges))
    case .prepare, .commitPrepared, .rollbackPrepared:
      throw ApplyFailure(
        .unreadable, "a two-phase record: the slot was made with TWO_PHASE, which sends such rows twice or not at all")
    case .streamControl:
      throw ApplyFailure(.unreadable, "a streamed block, which carries no rows")
    }
  }

  private func leaveOut(_ decoded: DecodedRecord, lsn: LSN) {
    seenChanges += 1
    hasSeenNamedRecord = hasSeenNamedRecord || lsn == steppedOver?.lsn
    if let relation = relation(of: decoded) { steppedOver?.changes[relation, default: 0] += 1 }
  }

  /// Moves progress past the transaction at once, so that what was left out is known to be just this.
  private func endSteppingOver(lsn: LSN) throws(ApplyFailure) {
    guard hasSeenNamedRecord || lsn == steppedOver?.lsn else {
      throw ApplyFailure(.unreadable, "the transaction that was to be stepped over is another one now")
    }
    isSteppingOver = false
    try openGroupIfNeeded()
    try endTransaction(lsn: lsn)
    if isGroupOpen { try closeGroup() }
    steppedOver?.commit = lsn
  }

  /// A position up to which the server has sent everything. It moves progress only when nothing received before it
  /// is unapplied.
  ///
  /// - Parameter record: whether to write it to the origin now: an idle database would hold the source's WAL otherwise.
  public func keepalive(_ walEnd: LSN, record: Bool) throws(ApplyFailure) {
    guard !isInTransaction else { return }
    position = max(position, walEnd)
    if record { try recordPosition() }
  }

  /// Commits what has been applied so far, as far as the last COMMIT in the stream. Call when the queue is dry.
  public func commitGroup() throws(ApplyFailure) {
    guard isGroupOpen, !isInTransaction else { return }
    try closeGroup()
  }

  /// Writes the current position to the origin, if progress is behind it.
  public func recordPosition() throws(ApplyFailure) {
    guard !isInTransaction, position > recorded else { return }
    if !isGroupOpen { try openGroup() }
    try closeGroup()
  }

  /// Has the server flush the WAL of everything recorded; only then `durable` may be confirmed to the source.
  public func makeDurable() throws(ApplyFailure) {
    guard durable < recorded, !isGroupOpen else { return }
    parameters.reset()
    try execute("pgconvoy_durable", expecting: .progress)
    try synchronize()
  }

  // MARK: changes

  private func applyChange(
    _ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer
  ) throws(ApplyFailure) {
    seenChanges += 1
    try openGroupIfNeeded()
    if isBatching, try takeIntoBatch(decoded, lsn: lsn, record: record) { return }
    switch decoded {
    case .insert(let number):
      guard let layout = try layout(number) else { return }
      guard let columns = parser.newColumns else { throw ApplyFailure(.unreadable, "insert without its tuple") }
      let prepared = try layout.insert(columns, in: record, prepare: preparing(.insert, number, lsn))
      try send(prepared, new: columns, old: nil, record: record, number: number, operation: .insert, lsn: lsn)
    case .update(let number, let hasOldKey):
      guard let layout = try layout(number) else { return }
      guard let columns = parser.newColumns else { throw ApplyFailure(.unreadable, "update without its tuple") }
      let old = hasOldKey ? parser.oldColumns : nil
      guard let prepared = try layout.update(columns, old: old, in: record, prepare: preparing(.update, number, lsn))
      else { return }
      try send(prepared, new: columns, old: old, record: record, number: number, operation: .update, lsn: lsn)
    case .delete(let number):
      guard let layout = try layout(number) else { return }
      guard let columns = parser.oldColumns else {
        throw ApplyFailure(
          .noIdentity, "table \(layout.relation.name) has no replica identity, so its deletes name no row")
      }
      let prepared = try layout.delete(columns, in: record, prepare: preparing(.delete, number, lsn))
      try send(prepared, new: [], old: columns, record: record, number: number, operation: .delete, lsn: lsn)
    case .truncate(let numbers, let restartIdentity, _):
      var relations: [TargetRelation] = []
      for number in numbers {
        if let layout = try layout(number) { relations.append(layout.relation) }
      }
      guard !relations.isEmpty else { return }
      let sql = truncateStatement(relations, restartIdentity: restartIdentity)
      try openGroupIfNeeded()
      try sendingUTF8(expecting: .truncate(number: numbers[0], lsn: lsn, xid: sourceTransaction)) {
        () throws(PostgresError) in try connection.pipelineQuery(sql)
      }
      try countChange(bytes: sql.utf8.count)
    default: return
    }
  }

  private func send(
    _ prepared: RelationLayout.PreparedChange, new: [DecodedColumn], old: [DecodedColumn]?,
    record: UnsafeRawBufferPointer, number: RelationNumber, operation: ExpectationQueue.Operation, lsn: LSN
  ) throws(ApplyFailure) {
    try openGroupIfNeeded()
    parameters.reset()
    for position in prepared.positions {
      let column: DecodedColumn
      switch position {
      case .new(let index): column = new[index]
      case .old(let index): column = (old ?? [])[index]
      }
      guard column.form != .unchangedToast else {
        let name = unquotedIdentifier(column.name, in: record)
        throw ApplyFailure(.unreadable, "the stream does not carry the value of column \(name), which is needed here")
      }
      parameters.append(column, of: record)
    }
    try execute(
      prepared.name, expecting: .row(operation, number: number, lsn: lsn, xid: sourceTransaction))
    try countChange(bytes: parameters.byteCount)
  }

  private func countChange(bytes: Int) throws(ApplyFailure) {
    groupChanges += 1
    groupBytes += bytes
    // Answers must be read while statements are sent, or both sides' buffers fill up.
    if expectations.count & 63 == 0 {
      try guarding { () throws(PostgresError) in try connection.pump() }
      try takeReadyOutcomes()
    }
    if expectations.count >= 2048 {
      try guarding { () throws(PostgresError) in try connection.pipelineFlushRequest() }
      while expectations.count > 512 { try takeOutcome() }
    }
  }

  private func layout(_ number: RelationNumber) throws(ApplyFailure) -> RelationLayout? {
    while layouts.count <= number { layouts.append(nil) }
    let layout: RelationLayout
    if let known = layouts[number] {
      layout = known
    } else {
      layout = try loadLayout(number)
      layouts[number] = layout
    }
    if layout.relation.kind == .materializedView {
      counters.skippedRows += 1
      return nil
    }
    return layout
  }

  private func loadLayout(_ number: RelationNumber) throws(ApplyFailure) -> RelationLayout {
    // The catalogs are read in the open group's own transaction: a pipeline must be empty for that.
    try synchronize()
    var relation: TargetRelation?
    try guarding { () throws(PostgresError) in
      try connection.leavePipeline()
      let (schema, table) = parser.relationNameBytes(number)
      if let switching = session.encodingSwitch { try connection.query(switching.toUTF8) }
      relation = try TargetRelation.load(
        schema: schema, table: table, from: connection, until: .after(.seconds(60)))
      if let switching = session.encodingSwitch { try connection.query(switching.back) }
      try connection.enterPipeline()
    }
    guard let relation else {
      throw ApplyFailure(.drift, "table \(parser.relationName(number)) does not exist on the target")
    }
    return RelationLayout(relation: relation)
  }

  private func preparing(
    _ operation: ExpectationQueue.Operation, _ number: RelationNumber, _ lsn: LSN
  ) -> RelationLayout.Prepare {
    { (statement) throws(ApplyFailure) in try self.prepare(statement, operation, number, lsn) }
  }

  private func prepare(
    _ statement: ChangeStatement, _ operation: ExpectationQueue.Operation, _ number: RelationNumber, _ lsn: LSN
  ) throws(ApplyFailure) -> String {
    preparedCount += 1
    let name = "pgconvoy_\(preparedCount)"
    try sendingUTF8(expecting: .prepare(operation, number: number, lsn: lsn, xid: sourceTransaction)) {
      () throws(PostgresError) in try connection.pipelinePrepare(name: name, sql: statement.sql)
    }
    return name
  }

  /// Sends a statement whose text is UTF-8, as Swift's strings are, in a session whose client encoding is the
  /// database's own for the sake of the values.
  private func sendingUTF8(
    expecting expectation: ExpectationQueue.Entry, _ send: () throws(PostgresError) -> Void
  ) throws(ApplyFailure) {
    if let switching = session.encodingSwitch {
      try guarding { () throws(PostgresError) in try connection.pipelineQuery(switching.toUTF8) }
      expectations.append(.plain)
    }
    try guarding(send)
    expectations.append(expectation)
    if let switching = session.encodingSwitch {
      try guarding { () throws(PostgresError) in try connection.pipelineQuery(switching.back) }
      expectations.append(.plain)
    }
  }

  // MARK: batches

  /// Puts a change into its table's batch; false when it has to be sent by itself, behind what waits of its table.
  private func takeIntoBatch(
    _ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer
  ) throws(ApplyFailure) -> Bool {
    let number: RelationNumber
    switch decoded {
    case .insert(let relation), .update(let relation, _), .delete(let relation): number = relation
    case .truncate(let relations, _, _):
      for relation in relations { try flushBatch(relation, lsn: lsn) }
      return false
    default: return false
    }
    guard let layout = try layout(number) else { return true }
    let bytesBefore = layout.batch.byteCount
    let wasEmpty = layout.batch.isEmpty
    var isConsistent = true
    switch decoded {
    case .insert where layout.canBatchInserts:
      guard let columns = parser.newColumns else { return false }
      let targets = try layout.newTargets(columns, in: record)
      isConsistent = layout.batch.insert(columns, targets: targets, of: record)
    case .update(_, hasOldKey: false) where layout.canBatchKeyedChanges:
      guard let columns = parser.newColumns else { return false }
      let targets = try layout.newTargets(columns, in: record)
      isConsistent = layout.batch.update(columns, targets: targets, of: record)
    case .delete where layout.canBatchKeyedChanges:
      guard let columns = parser.oldColumns else { return false }
      let targets = try layout.oldTargets(columns, in: record)
      isConsistent = layout.batch.delete(columns, targets: targets, of: record)
    default:
      try flushBatch(number, lsn: lsn)
      return false
    }
    guard isConsistent else {
      throw ApplyFailure(.batchMismatch, "changes of one row follow each other as no table allows")
    }
    if wasEmpty { pendingBatches.append(number) }
    groupChanges += 1
    groupBytes += layout.batch.byteCount - bytesBefore
    // A large source transaction is sent in pieces of bounded size, within one target transaction.
    waitingChanges += 1
    waitingBytes += layout.batch.byteCount - bytesBefore
    if waitingChanges >= limits.changes || waitingBytes >= limits.bytes { try flushBatches() }
    return true
  }

  /// All tables' sets first: they wait for nothing, and a COPY has to wait for all before it. The order of tables does
  /// not matter, for no trigger fires that could look into another.
  private func flushBatches() throws(ApplyFailure) {
    var copies: [PendingCopy] = []
    for number in pendingBatches { copies += try sendSets(number, lsn: position) }
    try copy(copies, lsn: position)
    for number in pendingBatches { layouts[number]?.batch.removeAll() }
    pendingBatches.removeAll(keepingCapacity: true)
    waitingChanges = 0
    waitingBytes = 0
  }

  private func flushBatch(_ number: RelationNumber, lsn: LSN) throws(ApplyFailure) {
    try copy(try sendSets(number, lsn: lsn), lsn: lsn)
    if number < layouts.count { layouts[number]?.batch.removeAll() }
    // It is there once at most: it comes back with its next change.
    pendingBatches.removeAll { $0 == number }
  }

  /// The rows of one table that go in by COPY.
  private struct PendingCopy {
    var number: RelationNumber
    var layout: RelationLayout
    var columns: [Int]
    var rows: [Int]
  }

  /// Deletes, then updates by the columns that they set, then inserts: so that a row that was deleted and inserted
  /// anew, or a unique value that moved to another row, finds its place free. Returns the inserts.
  private func sendSets(_ number: RelationNumber, lsn: LSN) throws(ApplyFailure) -> [PendingCopy] {
    guard number < layouts.count, let layout = layouts[number], !layout.batch.isEmpty else { return [] }
    let plan = BatchPlan(layout.batch, of: layout.relation)
    if !plan.deletes.isEmpty {
      try sendSet(plan.deletes, layout.relation.batchDelete(), key: [], .delete, layout, number, lsn)
    }
    for (set, rows) in plan.updates where !set.isEmpty {
      try sendSet(rows, layout.relation.batchUpdate(set: set), key: set, .update, layout, number, lsn)
    }
    return plan.inserts.map { PendingCopy(number: number, layout: layout, columns: $0.set, rows: $0.rows) }
  }

  private func sendSet(
    _ rows: [Int], _ statement: @autoclosure () -> BatchStatement, key: [Int],
    _ operation: ExpectationQueue.Operation, _ layout: RelationLayout, _ number: RelationNumber, _ lsn: LSN
  ) throws(ApplyFailure) {
    let prepared: (name: String, statement: BatchStatement)
    if let known = layout.batchStatements[key] {
      prepared = known
    } else {
      let made = statement()
      prepared = (try prepare(ChangeStatement(sql: made.sql, parameters: []), operation, number, lsn), made)
      layout.batchStatements[key] = prepared
    }
    parameters.reset()
    layout.batch.bytes.withUnsafeBytes { buffer in
      for column in prepared.statement.columns {
        parameters.append { literal in
          ArrayLiteral.open(&literal)
          for (index, row) in rows.enumerated() {
            ArrayLiteral.append(layout.batch.bytes(row, column, in: buffer), isFirst: index == 0, to: &literal)
          }
          ArrayLiteral.close(&literal)
        }
      }
    }
    try execute(prepared.name, expecting: .set(operation, number: number, rows: rows.count, lsn: lsn))
    try guarding { () throws(PostgresError) in try connection.pump() }
  }

  private func copy(_ copies: [PendingCopy], lsn: LSN) throws(ApplyFailure) {
    guard !copies.isEmpty else { return }
    // A COPY has no place in a pipeline.
    try synchronize()
    try guarding { () throws(PostgresError) in try connection.leavePipeline() }
    for copy in copies {
      copyBuffer.removeAll(keepingCapacity: true)
      let batch = copy.layout.batch
      batch.bytes.withUnsafeBytes { buffer in
        for row in copy.rows {
          for (index, column) in copy.columns.enumerated() {
            CopyText.append(batch.bytes(row, column, in: buffer), isFirst: index == 0, to: &copyBuffer)
          }
          CopyText.endRow(&copyBuffer)
        }
      }
      do throws(ApplyFailure) {
        try guarding { () throws(PostgresError) in
          try connection.copyIn(copy.layout.relation.batchCopy(columns: copy.columns), copyBuffer)
        }
      } catch {
        throw error.located(relation: parser.relationName(copy.number), operation: "insert", lsn: lsn, xid: nil)
      }
    }
    try guarding { () throws(PostgresError) in try connection.enterPipeline() }
  }

  // MARK: groups

  private func openGroupIfNeeded() throws(ApplyFailure) {
    if !isGroupOpen { try openGroup() }
  }

  private func openGroup() throws(ApplyFailure) {
    parameters.reset()
    try execute("pgconvoy_begin", expecting: .plain)
    isGroupOpen = true
    isBatching = hasBacklog && position >= strictUntil && session.encodingSwitch == nil
  }

  private func endTransaction(lsn: LSN) throws(ApplyFailure) {
    position = max(position, lsn)
    groupTransactions += 1
    let hasMarker = !transactionMarkers.isEmpty
    if hasMarker {
      groupMarkers += transactionMarkers
      transactionMarkers.removeAll()
      try openGroupIfNeeded()
    }
    let isFull = groupChanges >= limits.changes || groupBytes >= limits.bytes
    if hasMarker || isFull || position < strictUntil && isGroupOpen { try closeGroup() }
  }

  /// Commits the group; its progress is `position`, the end of the last COMMIT in it or a keepalive behind that.
  private func closeGroup() throws(ApplyFailure) {
    try flushBatches()
    // A set that did not hit its rows is no error to the server, which would go on to the COMMIT.
    if isBatching && !expectations.isEmpty { try synchronize() }
    for marker in groupMarkers {
      parameters.reset()
      parameters.append(text: Self.markerChannel)
      parameters.append(text: announcement(marker))
      try execute("pgconvoy_announce", expecting: .plain)
    }
    parameters.reset()
    parameters.append(text: position.description)
    if let lastCommitTime { parameters.append(text: lastCommitTime) } else { parameters.appendNull() }
    try execute("pgconvoy_origin", expecting: .plain)
    parameters.reset()
    try execute("pgconvoy_commit", expecting: .commit(lsn: position, xid: sourceTransaction))
    try synchronize()
    recorded = position
    counters.transactions += groupTransactions
    counters.changes += UInt64(groupChanges)
    counters.missedRows += missedInGroup
    isGroupOpen = false
    isBatching = false
    groupChanges = 0
    groupBytes = 0
    groupTransactions = 0
    missedInGroup = 0
    groupMarkers.removeAll()
  }

  /// `{"nonce":"…","lsn":"…","changes":12,"applier":"…"}`: the marker, the end of its transaction, how many changes
  /// this applier had seen before it, and which applier counted.
  private func announcement(_ marker: (nonce: String, changes: UInt64)) -> String {
    "{\"nonce\":\"\(marker.nonce)\",\"lsn\":\"\(position)\",\"changes\":\(marker.changes),\"applier\":\"\(identity)\"}"
  }

  /// Any role may emit a message with any content, so only what could be a nonce of ours is taken for one.
  private func markerNonce(_ prefix: Span, _ content: Span, _ record: UnsafeRawBufferPointer) -> String? {
    guard prefix.count == Self.markerPrefix.utf8.count, (1...64).contains(content.count),
      record[prefix.start..<prefix.end].elementsEqual(Self.markerPrefix.utf8)
    else { return nil }
    let nonce = record[content.start..<content.end]
    let isHexadecimal = nonce.allSatisfy { byte in
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
    return isHexadecimal ? String(decoding: nonce, as: UTF8.self) : nil
  }

  // MARK: the pipeline

  private func execute(_ name: String, expecting expectation: ExpectationQueue.Entry) throws(ApplyFailure) {
    try guarding { () throws(PostgresError) in
      try parameters.withPointers { pointers throws(PostgresError) in
        try connection.pipelineExecute(name: name, parameters: pointers)
      }
    }
    expectations.append(expectation)
  }

  /// Ends the pipeline's segment and waits for all answers.
  private func synchronize() throws(ApplyFailure) {
    try guarding { () throws(PostgresError) in try connection.pipelineSync() }
    expectations.append(.sync)
    try settle()
  }

  private func settle() throws(ApplyFailure) {
    while !expectations.isEmpty { try takeOutcome() }
  }

  private func takeReadyOutcomes() throws(ApplyFailure) {
    while !expectations.isEmpty {
      var ready: PostgresConnection.PipelineOutcome?
      try guarding { () throws(PostgresError) in ready = try connection.pipelineOutcomeIfReady() }
      guard let ready else { return }
      try settle(expectations.removeFirst(), with: ready)
    }
  }

  private func takeOutcome() throws(ApplyFailure) {
    var outcome: PostgresConnection.PipelineOutcome?
    try guarding { () throws(PostgresError) in outcome = try connection.pipelineOutcome(until: .never) }
    guard let outcome, !expectations.isEmpty else {
      throw ApplyFailure(.unreadable, "the target sent an answer to nothing")
    }
    try settle(expectations.removeFirst(), with: outcome)
  }

  private func settle(
    _ expectation: ExpectationQueue.Entry, with outcome: PostgresConnection.PipelineOutcome
  ) throws(ApplyFailure) {
    switch (expectation, outcome) {
    case (.sync, .sync): return
    case (_, .failed(let error)):
      throw ApplyFailure(error).located(
        relation: expectation.number.map { parser.relationName($0) }, operation: expectation.operationName,
        lsn: expectation.lsn, xid: expectation.xid)
    case (.row, .done(let affected)):
      if affected != 1 { missedInGroup += 1 }
    case (.set(let operation, _, let rows, _), .done(let affected)):
      guard affected == rows else {
        throw ApplyFailure(.batchMismatch, "a set of \(rows) rows hit \(affected)")
          .located(
            relation: expectation.number.map { parser.relationName($0) }, operation: "\(operation)",
            lsn: expectation.lsn, xid: nil)
      }
    case (.progress, .rows(let result)):
      guard let reached = result.first.flatMap({ LSN($0) }) else {
        throw ApplyFailure(.unreadable, "the target's replication origin has no progress")
      }
      guard reached >= recorded else {
        throw ApplyFailure(.unreadable, "the target's origin stands at \(reached), not at \(recorded)")
      }
      durable = reached
    case (_, .done), (_, .rows): return
    case (_, .aborted), (_, .sync):
      throw ApplyFailure(.unreadable, "the target's answers are out of step")
    }
  }

  private func guarding(_ body: () throws(PostgresError) -> Void) throws(ApplyFailure) {
    do throws(PostgresError) { try body() } catch { throw ApplyFailure(error) }
  }

  // MARK: words

  private func relation(of decoded: DecodedRecord) -> RelationName? {
    switch decoded {
    case .insert(let number), .update(let number, _), .delete(let number): parser.relationName(number)
    case .truncate(let numbers, _, _): numbers.first.map { parser.relationName($0) }
    default: nil
    }
  }

  private func operation(of decoded: DecodedRecord) -> String? {
    switch decoded {
    case .insert: "insert"
    case .update: "update"
    case .delete: "delete"
    case .truncate: "truncate"
    default: nil
    }
  }
}
