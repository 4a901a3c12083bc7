import FoundationEssentials

/// What a worker announces of a marker that it has met, in the very target transaction that moves progress past it.
///
/// The one who emits markers and waits for them, and the worker that announces them, agree by this type alone: the prefix
/// of the message, the channel, and the payload. Any role may send on the channel, so that an announcement is a wake-up,
/// and the truth is the replication origin.
public struct MarkerAnnouncement: Codable, Sendable, Equatable {
  /// The prefix of the logical messages that are markers.
  public static let messagePrefix = "pgconvoy.marker"
  /// The channel of LISTEN and NOTIFY on the target.
  public static let channel = "pgconvoy_marker"

  /// The marker's content: lower-case hexadecimal digits, fresh for each marker.
  public var nonce: String
  /// The end of the marker's own transaction: progress at or beyond it means that all before it is applied.
  public var lsn: LSN
  /// How many changes the worker's applier had seen before the marker.
  public var changes: UInt64
  /// Which applier counted.
  public var applier: String

  public init(nonce: String, lsn: LSN, changes: UInt64, applier: String) {
    self.nonce = nonce
    self.lsn = lsn
    self.changes = changes
    self.applier = applier
  }

  /// Reads a notification's payload; nil for anything else.
  public init?(payload: String) {
    guard let read = try? JSONDecoder().decode(Self.self, from: Data(payload.utf8)) else { return nil }
    self = read
  }

  /// `{"nonce":"…","lsn":"16/B374D848","changes":12,"applier":"…"}`, always in this order.
  public var payload: String {
    "{\"nonce\":\(Self.quoted(nonce)),\"lsn\":\"\(lsn)\",\"changes\":\(changes),\"applier\":\(Self.quoted(applier))}"
  }

  private static func quoted(_ text: String) -> String {
    // A text can always be encoded.
    guard let data = try? JSONEncoder().encode(text) else { return "\"\"" }
    return String(decoding: data, as: UTF8.self)
  }
}
