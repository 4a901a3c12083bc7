import TestSupport

extension TemporaryDirectory {
  /// Runs pgconvoy in this directory. A run that hangs is ended after a minute, with exit status 124.
  func run(_ arguments: String..., input: String = "") throws -> Program.Result {
    try run(arguments, input: input)
  }

  func run(_ arguments: [String], input: String = "") throws -> Program.Result {
    try Program.run(["timeout", "-k", "5", "60", builtProgram("pgconvoy")] + arguments, input: input, in: path)
  }

  /// Runs a shell script, in which `$0` is pgconvoy, in this directory.
  func run(script: String) throws -> Program.Result {
    try Program.run(["timeout", "-k", "5", "60", "sh", "-c", script, builtProgram("pgconvoy")], in: path)
  }
}

/// Two hosts at ports where nobody listens: connections are refused at once.
let deadInventory = """
  hosts:
    one: { address: 127.0.0.1, ssh: { port: 1 }, postgres: { port: 1 } }
    two: { address: 127.0.0.1, ssh: { port: 1 }, postgres: { port: 2 } }
  migrations:
    m: { source: one, target: two }

  """
