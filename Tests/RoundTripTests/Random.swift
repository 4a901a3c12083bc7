/// SplitMix64: the same seed gives the same schema, rows and transactions on every machine.
struct SeededRandom: RandomNumberGenerator {
  private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15
  private var state: UInt64

  /// The seed is mixed first: the state moves by a fixed step, so that plain neighbours would draw the same numbers,
  /// one place further on.
  init(_ seed: UInt64) { state = Self.mix(Self.mix(seed &+ Self.step) ^ 0x1234_5678_9ABC_DEF1) }

  mutating func next() -> UInt64 {
    state &+= Self.step
    return Self.mix(state)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

  /// True once in so many times.
  mutating func one(in times: Int) -> Bool { int(1...times) == 1 }

  mutating func pick<Element>(_ list: [Element]) -> Element { list[int(0...list.count - 1)] }
}
