import Testing

@testable import PostgresClient

/// What is read out of libpq's text, in its verbose form, where it keeps no result.
@Suite struct ServerWordsTests {
  @Test(
    arguments: [
      (
        """
        connection to server at "10.0.0.1", port 5432 failed: FATAL:  28000: pg_hba.conf lehnt Verbindung ab
        LOCATION:  ClientAuthentication, auth.c:444

        """, "28000", "ClientAuthentication", "pg_hba.conf lehnt Verbindung ab"
      ),
      // Both attempts speak, and the last one counts; a severity has a language too.
      (
        """
        connection to server at "::1", port 5432 failed: ВАЖНО:  28P01: one
        LOCATION:  auth_failed, auth.c:330
        connection to server at "::1", port 5432 failed: ВАЖНО:  53300: извините: уже слишком много клиентов
        DETAIL:  FATAL:  not this one
        LOCATION:  InitProcess, proc.c:352
        password retrieved from file "/x"

        """, "53300", "InitProcess", "извините: уже слишком много клиентов"
      ),
      (
        """
        connection to server at "10.0.0.1", port 5432 failed: Connection refused
        \tIs the server running on that host and accepting TCP/IP connections?

        """, nil, nil, "Connection refused"
      ),
      // From before 10, and from poolers, which name no place.
      ("ERROR:  08P01: no such database: shop", "08P01", nil, "no such database: shop"),
      (
        "could not translate host name \"x:  y\" to address", nil, nil,
        "could not translate host name \"x:  y\" to address"
      ),
      ("", nil, nil, "connection failed"),
    ] as [(String, String?, String?, String)])
  func atTheStart(_ text: String, state: String?, routine: String?, message: String) {
    let words = ServerWords(startUp: text)
    #expect(words.sqlState?.rawValue == state)
    #expect(words.routine == routine)
    #expect(words.message == message)
  }

  @Test func atTheEnd() {
    let ended = ServerWords("FATAL:  57P01: breche Verbindung ab\nLOCATION:  ProcessInterrupts, postgres.c:3204\n")
    #expect(ended.sqlState == .adminShutdown)
    #expect(ended.message == "breche Verbindung ab")
    #expect(ServerWords("server closed the connection unexpectedly\n\tThis probably means").sqlState == nil)
  }
}
