import ArgumentParser
import Inventory
import ReplicationModel

/// `pgconvoy inventory`: what the inventory resolves to, and where each value came from.
struct InventoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inventory", abstract: "Show what the inventory resolves to.",
    subcommands: [ListCommand.self, ShowCommand.self])

  struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List hosts, migrations and groups.")
    @OptionGroup var options: InventoryOptions

    func run() throws {
      Terminal.output(InventoryText.list(try options.loadInventory()))
    }
  }

  struct ShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "show", abstract: "Show one host, migration or group with the origin of each value.")
    @Argument(help: "A host, migration or group.")
    var name: String
    @OptionGroup var options: InventoryOptions

    func run() throws {
      let inventory = try options.loadInventory()
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
