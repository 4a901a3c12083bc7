import OriginSession
import PostgresClient
import Testing

@testable import ChangeApply

/// What is said where an expression of a table refuses what the source has accepted.
@Suite struct ApplyFailureTests {
  private func message(_ state: SQLState, _ change: (inout PostgresError) -> Void) -> String {
    var error = PostgresError(.server, sqlState: state, message: "no", server: "here")
    change(&error)
    return ApplyFailure(error).message
  }

  @Test func aConstraintIsNamedWithWhatItIsOf() {
    let ofTable = message("23514") {
      $0.schema = "S"
      $0.table = "t"
      $0.constraint = "c"
    }
    #expect(ofTable.contains("ALTER TABLE \"S\".\"t\" DROP CONSTRAINT \"c\", on both servers"))
    let ofDomain = message("23514") {
      $0.schema = "s"
      $0.dataType = "D"
      $0.constraint = "c"
    }
    #expect(ofDomain.contains("ALTER DOMAIN \"s\".\"D\" DROP CONSTRAINT \"c\", on both servers"))
  }

  @Test func aNameThatAFunctionLooksForIsNotOneOfOurs() {
    #expect(message("42883") { $0.context = "SQL function \"slug\" during inlining" }.contains("ALTER FUNCTION"))
    #expect(!message("42883") { _ in }.contains("ALTER FUNCTION"))
    #expect(!message("23505") { $0.constraint = "c" }.contains("DROP"))
  }
}
