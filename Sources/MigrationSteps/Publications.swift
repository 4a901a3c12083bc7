import Journal
import ReplicationModel

extension HandOffDatabase {
  /// Where the plugin needs one.
  var publicationName: String { slotName }
}
