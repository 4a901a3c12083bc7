package import Inventory
import PostgresClient
package import ReplicationModel

/// Something that a look at both servers wanted to know: the answer, or why there is none.
package enum Reading<Value: Sendable>: Sendable {
  case value(Value)
  /// It was asked, and failed. One check reports it; those that need it are not made.
  case failed(ConvoyError)
  /// It could not be asked, since something that it needs is missing.
  case notAsked(String)

  /// - Throws: why there is no answer.
  package func get() throws(CheckNotMade) -> Value {
    switch self {
    case .value(let value): return value
    case .failed(let error): throw CheckNotMade(reason: error.reason)
    case .notAsked(let reason): throw CheckNotMade(reason: reason)
    }
  }

  /// The same reading of what is made of the answer.
  package func map<Other: Sendable>(_ transform: (Value) -> Other) -> Reading<Other> {
    switch self {
    case .value(let value): .value(transform(value))
    case .failed(let error): .failed(error)
    case .notAsked(let reason): .notAsked(reason)
    }
  }

  package var value: Value? { if case .value(let value) = self { value } else { nil } }
  package var error: ConvoyError? { if case .failed(let error) = self { error } else { nil } }
}

/// Thrown by a check, or by a reading, that lacks what it needs; the reason reads after "not made, since".
package struct CheckNotMade: Error, Equatable {
  package var reason: String

  package init(reason: String) {
    self.reason = reason
  }
}

extension ConvoyError {
  fileprivate var reason: String { (place.map { "\($0): " } ?? "") + message }
}

extension MigrationContext {
  /// Turns whatever a question throws into a reading; a missing premise becomes "not asked".
  package nonisolated func reading<Value: Sendable>(
    _ side: Side, _ body: () async throws -> Value
  ) async -> Reading<Value> {
    let place = ConvoyError.Place.host(migration.host(side).name)
    do {
      return .value(try await body())
    } catch let missing as CheckNotMade {
      return .notAsked(missing.reason)
    } catch let error as ConvoyError {
      return .failed(error.placed(at: place))
    } catch let error as PostgresError {
      return .failed(error.convoyError(at: place))
    } catch is CancellationError {
      return .notAsked("it was interrupted")
    } catch {
      return .failed(ConvoyError("preflight.unexpected", "\(error)", at: place))
    }
  }
}
