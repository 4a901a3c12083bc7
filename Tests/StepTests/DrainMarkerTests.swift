import ReplicationModel
import Testing

@testable import MigrationSteps

struct DrainMarkerTests {
  @Test func readsAnAnnouncement() {
    #expect(
      DrainMarker(
        announcement: #"{"nonce":"ab12","lsn":"0/1A","changes":12,"applier":"ff"}"#, database: "d")
        == DrainMarker(database: "d", nonce: "ab12", lsn: LSN(0x1A), changes: 12, applier: "ff"))
  }

  @Test(arguments: [
    "", "}", "{", "{}", "{{{{", "}}}}", ",", ":", "{:}", "{,}", "{\"nonce\"}", "nonce", "{\"nonce\":\"a\"}",
    #"{"nonce":"a","lsn":"x","changes":1,"applier":"f"}"#, #"{"nonce":"a","lsn":"0/1","changes":-1,"applier":"f"}"#,
    #"{"nonce":"a","lsn":"0/1","changes":99999999999999999999,"applier":"f"}"#, "🐘",
    String(repeating: "{", count: 7999),
  ])
  func whatAnyoneMaySendIsNoMarker(_ text: String) {
    #expect(DrainMarker(announcement: text, database: "d") == nil)
  }
}
