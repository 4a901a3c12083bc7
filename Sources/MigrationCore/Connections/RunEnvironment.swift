package import Journal

/// What a run knows of the process that it runs in.
package struct RunEnvironment: Sendable {
  /// The inventory's file, as given; the sync process is started with it.
  package var inventoryPath: String
  package var stateDirectory: StateDirectory
  /// This program, to start the sync process with.
  package var program: String
  package var variables: [String: String]
  package var version: String
  /// The run in the journal that this process is; nil for commands that only look.
  package var run: RunID?
  /// The nonce of a target's hand-off, typed by an operator: what that server holds may be lost.
  package var discards: String?
  /// Asks a person for the passphrase of a private key; nil where there is nobody to ask.
  package var askPassphrase: (@Sendable (_ key: String) -> [UInt8]?)?

  package init(
    inventoryPath: String, stateDirectory: StateDirectory, program: String, variables: [String: String],
    version: String
  ) {
    self.inventoryPath = inventoryPath
    self.stateDirectory = stateDirectory
    self.program = program
    self.variables = variables
    self.version = version
  }

  /// The arguments of the sync process that a play starts: it ends by itself when nothing is left to do.
  package var syncArguments: [String] {
    ["sync", "-i", inventoryPath, "--state", stateDirectory.path, "--exit-when-done"]
  }
}
