public import ReplicationModel

/// Where and why a text of test_decoding records could not be read.
public struct DecodeInputError: Error, Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    /// A byte stands where the grammar has no place for it.
    case malformed
    /// The input ended inside a record.
    case truncated
    /// A value or name is not UTF-8, which JSON needs.
    case encoding
  }

  public var kind: Kind
  /// The line, from 1, on which the record starts; values may hold line feeds, so the fault can be some lines below.
  public var line: Int
  /// Where it went wrong, in bytes from the start of the input.
  public var byteOffset: Int
  /// Lowercase, says what was expected.
  public var reason: String

  public init(kind: Kind, line: Int, byteOffset: Int, reason: String) {
    self.kind = kind
    self.line = line
    self.byteOffset = byteOffset
    self.reason = reason
  }

  /// The same for a person, with `decode.malformed`, `decode.truncated` or `decode.encoding` as its code.
  public var convoyError: ConvoyError {
    let place = ConvoyError.Place.input(line: line, byteOffset: byteOffset)
    switch kind {
    case .malformed:
      return ConvoyError(
        "decode.malformed", reason, at: place,
        hint: "decode reads what pg_recvlogical wrote with the plugin test_decoding, unchanged")
    case .truncated:
      return ConvoyError(
        "decode.truncated", reason, at: place,
        hint: "the input ends inside a record: was it cut off, or is it still being written?")
    case .encoding:
      return ConvoyError(
        "decode.encoding", reason, at: place,
        hint: "test_decoding writes in the database's encoding: convert its output to UTF-8 first")
    }
  }
}
