import PostgresClient
package import RemoteHost

extension RemoteCommand {
  /// The same, of a program that connects to a server: it goes where it is told to, whatever the host's own environment
  /// says, and libpq speaks English.
  package var connecting: RemoteCommand {
    var command = self
    command.withheld = overrulingVariables
    command.environment["LC_ALL"] = "C"
    return command
  }
}
