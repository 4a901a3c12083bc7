import ReplicationModel
import Testing

@Suite struct MarkerAnnouncementTests {
  private static let plain = MarkerAnnouncement(nonce: "ab12", lsn: LSN(0x1A), changes: 12, applier: "ff")

  /// Workers and plays of other versions read it.
  @Test func itsTextIsTheSameForEver() {
    #expect(Self.plain.payload == #"{"nonce":"ab12","lsn":"0/1A","changes":12,"applier":"ff"}"#)
    #expect(MarkerAnnouncement.messagePrefix == "pgconvoy.marker")
    #expect(MarkerAnnouncement.channel == "pgconvoy_marker")
  }

  @Test(arguments: [
    plain, MarkerAnnouncement(nonce: "", lsn: .invalid, changes: 0, applier: ""),
    MarkerAnnouncement(nonce: "0", lsn: LSN(.max), changes: .max, applier: "\"\\/,:{}\n\u{0}é🐘"),
  ])
  func isReadAsItWasWritten(_ announcement: MarkerAnnouncement) {
    #expect(MarkerAnnouncement(payload: announcement.payload) == announcement)
  }

  @Test(arguments: [
    #"{"applier":"ff","changes":12,"lsn":"0/1A","nonce":"ab12"}"#,
    #" { "nonce" : "ab12", "lsn":"0\/1A", "changes":12, "applier":"ff", "more": [1] } "#,
  ])
  func orderSpacesAndFurtherKeysAreOfNoAccount(_ payload: String) {
    #expect(MarkerAnnouncement(payload: payload) == Self.plain)
  }

  /// Any role may send on the channel.
  @Test(arguments: [
    "", "}", "{", "{}", "{{{{", "[]", "null", "12", "\"nonce\"", "nonce", "🐘", #"{"nonce":"a"}"#,
    #"{"nonce":1,"lsn":"0/1","changes":1,"applier":"f"}"#, #"{"nonce":"a","lsn":"x","changes":1,"applier":"f"}"#,
    #"{"nonce":"a","lsn":"0/1","changes":"1","applier":"f"}"#, #"{"nonce":"a","lsn":"0/1","changes":-1,"applier":"f"}"#,
    #"{"nonce":"a","lsn":"0/1","changes":1.5,"applier":"f"}"#, #"{"nonce":"a","lsn":"0/1","changes":1}"#,
    #"{"nonce":"a","lsn":"0/1","changes":99999999999999999999,"applier":"f"}"#,
    #"{"nonce":"a","lsn":"0/1","changes":1,"applier":"f"}, {}"#,
    String(repeating: "{", count: 7999), String(repeating: "[", count: 7999),
  ])
  func nothingElseIsRead(_ payload: String) {
    #expect(MarkerAnnouncement(payload: payload) == nil)
  }
}
