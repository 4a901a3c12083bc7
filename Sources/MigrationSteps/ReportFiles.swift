import BlockingIO
import FoundationEssentials
import Glibc
import Journal
import ReplicationModel

/// The report that was written last, as the journal remembers it.
struct WrittenReport: Codable, Sendable, Equatable {
  var path: String
  var nonce: String
  var outcome: MigrationReport.Outcome
  /// When the cutover that it tells of was over; nil for one that is not.
  var opened: UInt64?
}

/// The directory of reports. Its files are made once and never changed: `<migration>-<nonce>-<number>.json`.
struct ReportFiles: Sendable {
  let directory: String

  init(stateDirectory: String) { directory = stateDirectory + "/reports" }

  /// Bytes of the migration's name outside `A-Za-z0-9_.-` are written as `%XX`.
  func path(migration: String, nonce: String, number: Int?) -> String {
    var name = ""
    for byte in migration.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
        name.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        name += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return "\(directory)/\(name)-\(nonce)-\(number.map(String.init) ?? "<number>").json"
  }

  /// Writes the report whole or not at all, under the next free number, with mode 0600. Blocks.
  ///
  /// - Throws: `report.unwritable`.
  func write(_ report: MigrationReport, migration: String, nonce: String) throws -> String {
    if mkdir(directory, 0o700) != 0 && errno != EEXIST { throw failure(directory) }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let bytes = Array(try encoder.encode(report)) + [UInt8(ascii: "\n")]
    let temporary = "\(directory)/.report-\(getpid())-\(HandOffNames.random().nonce)"
    defer { unlink(temporary) }
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw failure(temporary) }
    do {
      defer { close(file) }
      var sent = 0
      while sent < bytes.count {
        let count = bytes[sent...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
        if count < 0 {
          if errno == EINTR { continue }
          throw failure(temporary)
        }
        sent += count
      }
      guard fsync(file) == 0 else { throw failure(temporary) }
    }
    // A link, not a rename: it never takes the place of a report that is there.
    var number = 1
    while true {
      let path = path(migration: migration, nonce: nonce, number: number)
      if link(temporary, path) == 0 { return path }
      guard errno == EEXIST else { throw failure(path) }
      number += 1
    }
  }

  /// Nil when the file is gone. Blocks.
  func read(_ path: String) throws -> MigrationReport? {
    guard access(path, F_OK) == 0 else { return nil }
    do {
      return try JSONDecoder().decode(MigrationReport.self, from: Data(contentsOf: URL(filePath: path)))
    } catch {
      throw ConvoyError(
        "report.unreadable", "the report cannot be read", at: .path(path),
        hint: "move the file away to see the journal's copy", cause: "\(error)")
    }
  }

  private func failure(_ path: String) -> ConvoyError {
    ConvoyError(
      "report.unwritable", "the report cannot be written: \(String(cString: strerror(errno)).lowercased())",
      at: .path(path), hint: "check the state directory's owner, mode and free space")
  }

  /// How long each step took, from the run that began the cutover to the latest: a cutover that was interrupted behind
  /// its point of no return is finished by another run.
  static func phases(_ steps: [StepRecord]) -> [MigrationReport.Phase] {
    // Only what ended well: a step that failed was undone, or was taken again.
    let begun = steps.last { $0.name == "drain" } ?? steps.last
    guard let first = begun?.run else { return [] }
    var phases: [MigrationReport.Phase] = []
    for step in steps
    where step.run.rawValue >= first.rawValue && (step.outcome == .changed || step.outcome == .ok) {
      guard let ended = step.ended else { continue }
      let milliseconds = max(0, ended.timeIntervalSince(step.started) * 1000)
      phases.append(.init(name: step.name, milliseconds: UInt64(milliseconds.rounded())))
    }
    return phases
  }
}
