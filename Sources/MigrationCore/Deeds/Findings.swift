package import Playbook
import Synchronization

/// What the deeds of one step have found, for those behind them and for the step's result.
package final class Findings: Sendable {
  private struct State {
    var values: [String: any Sendable] = [:]
    var times: [String: Duration] = [:]
  }

  private let state = Mutex(State())

  package init() {}

  package subscript<Value: Sendable>(_ key: Found<Value>) -> Value? {
    get { state.withLock { $0.values[key.name] as? Value } }
    set { state.withLock { $0.values[key.name] = newValue } }
  }

  /// A parameter's text; the placeholder's where nothing is found yet.
  func text(of value: DeedValue) -> String {
    switch value {
    case .text(let text): text
    case .found(let key): self[key] ?? key.placeholder
    }
  }

  func note(database: String, _ time: Duration) { state.withLock { $0.times[database] = time } }

  /// How long each database's deeds took, by name.
  package var databases: [DatabaseRecord] {
    state.withLock { $0.times }.sorted { $0.key < $1.key }.map { DatabaseRecord($0.key, duration: $0.value) }
  }
}
