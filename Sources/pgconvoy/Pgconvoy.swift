import ArgumentParser

@main
struct Pgconvoy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "pgconvoy")
}
