import BlockingIO
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension WithServer {
  /// COPY from the client, and pipeline mode.
  @Suite struct CopyAndPipeline {
    @Test func fiveMegabytesOfCopyArrive() throws {
      let connection = try TestServer.running().connect()
      try connection.script("CREATE TEMP TABLE t (id integer, filler text)")
      let filler = String(repeating: "x", count: 90)
      let bytes = (0..<55_000).flatMap { Array("\($0)\t\(filler)\n".utf8) }
      #expect(bytes.count > 5 << 20)
      let result = try connection.copyIn("COPY t FROM STDIN", bytes)
      #expect(result.affectedRows == 55_000)
      #expect(
        try connection.query("SELECT count(*), sum(id), min(length(filler)) FROM t").rows.map {
          [$0.string(0), $0.string(1), $0.string(2)]
        } == [["55000", "\(54_999 * 55_000 / 2)", "90"]])
    }

    @Test func aBrokenRowIsTheServersErrorAndTheSessionGoesOn() throws {
      let connection = try TestServer.running().connect()
      try connection.script("CREATE TEMP TABLE t (id integer)")
      let error = #expect(throws: PostgresError.self) {
        try connection.copyIn("COPY t FROM STDIN", Array("1\nnot a number\n3\n".utf8))
      }
      #expect(error?.sqlState == "22P02")
      #expect(error?.context == "COPY t, line 2, column id: \"not a number\"")
      #expect(try connection.query("SELECT count(*) FROM t").first == "0")
    }

    @Test func answersComeInTheOrderOfTheStatements() throws {
      let connection = try TestServer.running().connect()
      try connection.script("CREATE TEMP TABLE t (id integer PRIMARY KEY)")
      try connection.enterPipeline()
      try connection.pipelinePrepare(name: "add", sql: "INSERT INTO t SELECT generate_series(1, $1)")
      try connection.pipelineQuery("SELECT 'first'")
      try connection.pipelineQuery("INSERT INTO t SELECT generate_series(1, 7)")
      try connection.pipelineQuery("UPDATE t SET id = id + 100 WHERE id > $1::integer", ["4"])
      try connection.pipelineSync()
      #expect(try outcomes(connection, 5) == ["done 0", "rows first", "done 7", "done 3", "sync"])
      let isDry = try connection.pipelineOutcomeIfReady().map { _ in false } ?? true
      #expect(isDry)
      try connection.leavePipeline()
      #expect(try connection.query("SELECT count(*) FROM t").first == "7")
    }

    @Test func anErrorAbortsTheRestOfItsSegmentOnly() throws {
      let connection = try TestServer.running().connect()
      try connection.script("CREATE TEMP TABLE t (id integer PRIMARY KEY)")
      try connection.enterPipeline()
      try connection.pipelineQuery("INSERT INTO t VALUES (1)")
      try connection.pipelineQuery("INSERT INTO t VALUES (1)")
      try connection.pipelineQuery("INSERT INTO t VALUES (2)")
      try connection.pipelineSync()
      try connection.pipelineQuery("INSERT INTO t VALUES (3)")
      try connection.pipelineSync()
      #expect(
        try outcomes(connection, 6) == ["done 1", "failed 23505", "aborted", "sync", "done 1", "sync"])
      try connection.leavePipeline()
      #expect(try connection.query("SELECT string_agg(id::text, ',') FROM t").first == "3")
    }

    @Test func thousandsOfStatementsDoNotBlockEitherSide() throws {
      let connection = try TestServer.running().connect()
      try connection.enterPipeline()
      let filler = String(repeating: "y", count: 2000)
      for number in 0..<5000 {
        try connection.pipelineQuery("SELECT $1::text", ["\(number) \(filler)"])
        try connection.pump()
      }
      try connection.pipelineSync()
      for number in 0..<5000 {
        guard case .rows(let result) = try connection.pipelineOutcome(until: .after(.seconds(30))) else {
          Issue.record("no rows for statement \(number)")
          return
        }
        #expect(result.first == "\(number) \(filler)")
      }
      #expect(try outcomes(connection, 1) == ["sync"])
      try connection.leavePipeline()
    }

    private func outcomes(_ connection: PostgresConnection, _ count: Int) throws -> [String] {
      try (0..<count).map { _ in
        switch try connection.pipelineOutcome(until: .after(.seconds(10))) {
        case .done(let affected): "done \(affected)"
        case .rows(let result): "rows \(result.first ?? "")"
        case .failed(let error): "failed \(error.sqlState?.rawValue ?? "")"
        case .aborted: "aborted"
        case .sync: "sync"
        }
      }
    }
  }
}
