/// The names of steps that others than the steps themselves look for: a report tells of them.
package enum StepName {
  /// Its report begins here: what came before belongs to no cutover or rollback, or to an earlier one.
  package static let drain = "drain"
  /// It writes the report; a playbook that names it prints the report at its end.
  package static let report = "report"
}
