import ArgumentParser
import Glibc
import ReplicationModel

/// `pgconvoy init`: an inventory and the playbooks to start from.
struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Write an inventory and the playbooks to start from.")

  @Argument(help: "Where to; made when it does not exist.")
  var directory = "."
  @OptionGroup var log: LogOptions

  func run() throws {
    try makeDirectory(directory)
    try makeDirectory(directory + "/playbooks")
    // All or nothing: an inventory that someone has filled in is never overwritten.
    for file in ShippedFiles.all {
      let path = directory + "/" + file.path
      guard access(path, F_OK) != 0 else {
        throw ConvoyError(
          "init.exists", "there is a file already", at: .path(path), hint: "choose an empty directory", kind: .usage)
      }
    }
    for file in ShippedFiles.all {
      try write(file.text, to: directory + "/" + file.path)
      Terminal.output("wrote \(directory)/\(file.path)")
    }
    Terminal.output("next: fill in \(directory)/inventory.yml, then 'pgconvoy check -i \(directory)/inventory.yml'")
  }

  private func makeDirectory(_ path: String) throws {
    if mkdir(path, 0o755) != 0 && errno != EEXIST { throw failure("cannot make the directory", path) }
  }

  private func write(_ text: String, to path: String) throws {
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw failure("cannot write the file", path) }
    defer { close(file) }
    let bytes = Array(text.utf8)
    guard Glibc.write(file, bytes, bytes.count) == bytes.count else { throw failure("cannot write the file", path) }
  }

  private func failure(_ message: String, _ path: String) -> ConvoyError {
    ConvoyError(
      "init.unwritable", "\(message): \(String(cString: strerror(errno)))", at: .path(path), kind: .usage)
  }
}
