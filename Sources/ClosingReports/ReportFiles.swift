import FoundationEssentials
import Glibc
package import Journal
package import MigrationCore
package import ReplicationModel
import StatusReport

/// The report that was written last, as the journal remembers it.
package struct WrittenReport: Codable, Sendable, Equatable {
  package var path: String
  package var nonce: String
  package var outcome: MigrationReport.Outcome
  /// Its SHA-256.
  package var seal: String?
  /// When the cutover that it tells of was over; nil for one that is not.
  package var opened: UInt64?

  package init(
    path: String, nonce: String, outcome: MigrationReport.Outcome, seal: String? = nil, opened: UInt64? = nil
  ) {
    self.path = path
    self.nonce = nonce
    self.outcome = outcome
    self.seal = seal
    self.opened = opened
  }
}

extension FactKey<WrittenReport> {
  /// The last report that was written to a file.
  package static var writtenReport: Self { Self("written_report") }
}

/// The directory of reports. Its files are made once and never changed: `<migration>-<nonce>-<number>.json`.
package struct ReportFiles: Sendable {
  package let directory: String

  package init(stateDirectory: String) { directory = stateDirectory + "/reports" }

  /// Bytes of the migration's name outside `A-Za-z0-9_.-` are written as `%XX`.
  package func path(migration: String, nonce: String, number: Int?) -> String {
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

  /// Writes the report as a sealed JSON document, and as Markdown and HTML beside it, each whole or not at all, under the
  /// next free number, with mode 0600. Blocks.
  ///
  /// - Returns: the JSON document's path and seal.
  /// - Throws: `report.unwritable`.
  package func write(_ report: MigrationReport, migration: String, nonce: String) throws -> (path: String, seal: String)
  {
    if mkdir(directory, 0o700) != 0 && errno != EEXIST { throw failure(directory) }
    let (text, seal) = SealedReport.seal(MigrationReportJSON.render(report))
    // A link, not a rename: it never takes the place of a report that is there.
    var number = 1
    while true {
      let path = path(migration: migration, nonce: nonce, number: number)
      if try write(text, to: path) {
        _ = try write(MigrationReportMarkdown.render(report, seal: seal), to: Self.beside(path, "md"))
        _ = try write(MigrationReportHTML.render(report, seal: seal), to: Self.beside(path, "html"))
        return (path, seal)
      }
      number += 1
    }
  }

  /// A readable form beside a document.
  static func beside(_ path: String, _ extension: String) -> String { path.dropLast("json".count) + `extension` }

  /// False when there is such a file.
  private func write(_ text: String, to path: String) throws -> Bool {
    let bytes = Array(text.utf8)
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
    if link(temporary, path) == 0 { return true }
    guard errno == EEXIST else { throw failure(path) }
    return false
  }

  /// Nil when the file is gone. Blocks.
  ///
  /// - Parameter seal: what the journal says that it bears; nil for a document that is not from here.
  /// - Throws: `report.changed`, `report.unreadable`.
  package static func read(_ path: String, seal: String?) throws -> (report: MigrationReport, text: String)? {
    guard access(path, F_OK) == 0 else { return nil }
    let text: String
    let report: MigrationReport
    do {
      let bytes = try Data(contentsOf: URL(filePath: path))
      text = String(decoding: bytes, as: UTF8.self)
      if let hashes = SealedReport.hashes(text) {
        guard hashes.borne == hashes.computed, seal == nil || seal == hashes.borne else {
          throw changed(path, "its SHA-256 was \(seal ?? hashes.borne) and is \(hashes.computed)")
        }
      } else {
        throw changed(path, "it has lost its seal, the line \"sha256\"")
      }
      report = try JSONDecoder().decode(MigrationReport.self, from: bytes)
    } catch let error as ConvoyError {
      throw error
    } catch {
      throw ConvoyError(
        "report.unreadable", "the report cannot be read", at: .path(path),
        hint: "move the file away to see the journal's copy", cause: "\(error)")
    }
    return (report, text)
  }

  private static func changed(_ path: String, _ what: String) -> ConvoyError {
    ConvoyError(
      "report.changed", "the report was changed after it was written: \(what)", at: .path(path),
      hint: "it proves nothing any more; move the file away to see the journal's copy")
  }

  private func failure(_ path: String) -> ConvoyError {
    ConvoyError(
      "report.unwritable", "the report cannot be written: \(String(cString: strerror(errno)).lowercased())",
      at: .path(path), hint: "check the state directory's owner, mode and free space")
  }

  /// How long each step took, from the run that began the cutover to the latest: a cutover that was interrupted behind
  /// its point of no return is finished by another run.
  package static func phases(_ steps: [StepRecord]) -> [MigrationReport.Phase] {
    // Only what ended well: a step that failed was undone, or was taken again. Not what a later run found done.
    let ran = steps.filter { !$0.isUndo && ($0.outcome == .changed || $0.outcome == .ok) }
    let begun = ran.last { $0.name == StepName.drain } ?? ran.last
    guard let first = begun?.run else { return [] }
    var phases: [MigrationReport.Phase] = []
    for step in ran where step.run.rawValue >= first.rawValue {
      guard let ended = step.ended else { continue }
      let milliseconds = max(0, ended.timeIntervalSince(step.started) * 1000)
      phases.append(.init(name: step.name, milliseconds: UInt64(milliseconds.rounded())))
    }
    return phases
  }
}
