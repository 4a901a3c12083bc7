import ClosingReports
import FoundationEssentials
import Logging
import MigrationCore
import Presentation

enum LogFormat: String, CaseIterable, Sendable {
  case text, json
}

/// One line per entry on standard error, as text or as JSON.
struct StandardErrorLog: LogHandler {
  let format: LogFormat
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let merged = metadata.merging(event.metadata ?? [:]) { _, new in new }
    let time = HumanFormat.moment(Date())
    switch format {
    case .text:
      let pairs = merged.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
      Terminal.error("\(time) \(event.level) \(event.message)" + (pairs.isEmpty ? "" : " (\(pairs))"))
    case .json:
      var fields = ["time": time, "level": event.level.rawValue, "message": "\(event.message)"]
      for (key, value) in merged { fields[key] = "\(value)" }
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      if let data = try? encoder.encode(fields) { Terminal.error(String(decoding: data, as: UTF8.self)) }
    }
  }
}
