package import PostgresClient
package import ReplicationModel

/// The current timeline as the eight digits of file names.
package func currentTimeline(_ session: PostgresSession) async throws -> String {
  try await session.query(
    "SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)"
  ).first ?? ""
}

extension ServerControl {
  /// Of the data directory, whether its server runs or not.
  package func controlData() async throws -> ControlData {
    ControlData(
      try await ask(
        "LC_ALL=C \"$1\" -D \"$2\"", [program("pg_controldata"), dataDirectory], label: "reading the control file"))
  }
}

/// What pg_controldata prints in the C locale.
package struct ControlData {
  package let text: String

  init(_ text: String) { self.text = text }

  /// Recovery of a standby cannot end before it; 0/0 for a server that was no standby.
  package var minimumRecoveryEnd: LSN? { value("Minimum recovery ending location").flatMap { LSN($0) } }

  /// Whether it follows another server, or was shut down when it did; false for one that has been promoted.
  package var isInRecovery: Bool {
    ["in archive recovery", "shut down in recovery"].contains(value("Database cluster state") ?? "")
  }

  /// The cluster's, which a physical copy has in common with what it was copied from.
  package var systemIdentifier: UInt64? { value("Database system identifier").flatMap { UInt64($0) } }

  private func value(_ name: String) -> String? {
    for line in text.split(separator: "\n") where line.hasPrefix(name + ":") {
      return String(line.dropFirst(name.count + 1).drop { $0 == " " })
    }
    return nil
  }
}

/// A `.history` file: parent timeline, switch point and reason on each line.
/// <https://www.postgresql.org/docs/15/continuous-archiving.html#BACKUP-TIMELINES>
package enum TimelineHistory {
  package static func lastSwitchPoint(_ text: String) -> (timeline: UInt32, lsn: LSN)? {
    for line in text.split(separator: "\n").reversed() where !line.hasPrefix("#") {
      let fields = line.split(separator: "\t")
      if fields.count >= 2, let timeline = UInt32(fields[0]), let lsn = LSN(fields[1]) { return (timeline, lsn) }
    }
    return nil
  }
}
