import ArgumentParser
import Inventory
import MigrationCore
import ReplicationModel

/// `pgconvoy inventory`: what the inventory resolves to, and where each value came from.
struct InventoryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inventory", abstract: "Show what the inventory resolves to.",
    subcommands: [ListCommand.self, ShowCommand.self])

  struct ListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List hosts, migrations and groups.")
    @OptionGroup var options: InventoryOptions

    func run() async throws {
      Terminal.output(InventoryText.list(try await options.loadInventory()))
    }
  }

  struct ShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "show", abstract: "Show one host, migration or group with the origin of each value.")
    @Argument(help: "A host, migration or group.")
    var name: String
    @OptionGroup var options: InventoryOptions

    func run() async throws {
      let inventory = try await options.loadInventory()
      guard let text = InventoryText.show(inventory, name: name) else {
        let known = (inventory.hosts.map(\.name) + inventory.knownNames).joined(separator: ", ")
        throw ConvoyError(
          "inventory.unknown-name", "nothing is called '\(name)'", at: .path(options.inventory),
          hint: "known: \(known)", kind: .usage)
      }
      Terminal.output(text)
    }
  }
}
