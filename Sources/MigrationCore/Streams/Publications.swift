package import Journal

extension HandOffDatabase {
  /// Where the plugin needs one.
  package var publicationName: String { slotName }
}
