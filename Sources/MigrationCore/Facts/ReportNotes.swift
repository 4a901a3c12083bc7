package import ReplicationModel

extension MigrationReport {
  /// Adds what the report does not say yet: a step that runs twice says it once.
  package mutating func note(_ severity: Remark.Severity, _ text: String, database: String? = nil) {
    let finding = Remark(severity, text, database: database)
    if !findings.contains(finding) { findings.append(finding) }
  }
}
