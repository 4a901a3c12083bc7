import ArgumentParser

struct Pgconvoy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pgconvoy",
    abstract: "Move every database of a PostgreSQL server to a new server while applications keep writing.",
    discussion: """
      Start with 'pgconvoy init', fill in the inventory, then 'pgconvoy play playbooks/migrate.yml -i inventory.yml'.
      To try it all on two local hosts: 'pgconvoy lab up --dir DIR'.

      Exit status: 0 done; 1 a migration or check failed; 2 wrong usage or unreadable input; 3 interrupted, safe to run
      again.
      """,
    version: productVersion,
    subcommands: [
      InitCommand.self, CheckCommand.self, PlayCommand.self, SyncCommand.self, StatusCommand.self, VerifyCommand.self,
      SkipCommand.self, ReportCommand.self, AdoptCommand.self, DecodeCommand.self, InventoryCommand.self,
      LabCommand.self, HostedSyncCommand.self,
    ])
}
