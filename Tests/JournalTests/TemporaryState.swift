import Glibc
import ReplicationModel
import TestSupport

@testable import Journal

/// A state directory of its own for one test, removed afterwards.
final class TemporaryState {
  let directory: StateDirectory
  private let base: TemporaryDirectory

  init() throws {
    base = try TemporaryDirectory("journal")
    directory = StateDirectory(path: base.path + "/state")
  }

  func open() throws -> JournalFile { try JournalFile(stateDirectory: directory) }

  func mode(_ path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
  }
}

/// The error that `body` throws; nil when it throws none.
func convoyError(_ body: () throws -> Void) -> ConvoyError? {
  do {
    try body()
    return nil
  } catch {
    return error as? ConvoyError
  }
}
