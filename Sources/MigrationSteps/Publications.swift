import Journal
import ReplicationModel

extension HandOffDatabase {
  /// Where the plugin is pgoutput.
  var publicationName: String { slotName }
}
