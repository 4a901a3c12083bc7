/// SplitMix64: the same numbers for the same seed, on every machine, so that a failure can be had again.
package struct SeededRandom: RandomNumberGenerator, Sendable {
  private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15
  private var state: UInt64

  /// The seed is the state. Neighbouring seeds are unrelated, but not those that are a multiple of the step apart.
  package init(seed: UInt64) { state = seed }

  /// The seed is mixed first. For seeds that are themselves made by arithmetic: whatever lies between two of them, they
  /// do not draw the same numbers one place further on.
  package init(mixing seed: UInt64) { state = Self.mix(Self.mix(seed &+ Self.step) ^ 0x1234_5678_9ABC_DEF1) }

  package mutating func next() -> UInt64 {
    state &+= Self.step
    return Self.mix(state)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  package mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

  /// True once in so many times.
  package mutating func one(in times: Int) -> Bool { int(1...times) == 1 }

  /// One of a list that is not empty.
  package mutating func pick<Element>(_ list: [Element]) -> Element { list[int(0...list.count - 1)] }
}
