import Glibc
import TestSupport
import Testing

@testable import LogicalDecoding

@Suite struct FuzzTests {
  static let seed: UInt64 = 20_240_917

  @Test func readsBackWhatWasRendered() throws {
    var generator = RecordGenerator(seed: Self.seed)
    var parser = TestDecodingParser()
    for round in 0..<20_000 {
      let model = generator.record()
      let text = render(model)
      let found = try read(Array(text.utf8), with: &parser)
      // Two readings of a message can fit its size; the parser takes the first.
      if case .message = model {
        #expect(render(found) == text, "seed \(Self.seed), round \(round)")
      } else {
        #expect(found == model, "seed \(Self.seed), round \(round): \(text)")
      }
    }
  }

  @Test func survivesMutations() {
    var generator = RecordGenerator(seed: Self.seed + 1)
    var random = SeededRandom(seed: Self.seed + 2)
    var parser = TestDecodingParser()
    var accepted = 0
    for round in 0..<60_000 {
      var bytes = Array(render(generator.record()).utf8)
      for _ in 0..<Int.random(in: 1...3, using: &random) { mutate(&bytes, &random) }
      do throws(MalformedRecord) {
        // Whatever is still of the grammar reads back as it was written.
        let model = try read(bytes, with: &parser)
        accepted += 1
        _ = render(model)
      } catch {
        #expect((0...bytes.count).contains(error.offset), "seed \(Self.seed), round \(round): \(error)")
        #expect(!error.reason.isEmpty)
      }
    }
    #expect(accepted > 0)
  }

  /// Mutated files in pieces: never a crash, and the same outcome as in one piece.
  @Test func splitsMutatedFilesAlikeInPieces() {
    var generator = RecordGenerator(seed: Self.seed + 3)
    var random = SeededRandom(seed: Self.seed + 4)
    for round in 0..<3_000 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 1...4, using: &random) { bytes += Array((render(generator.record()) + "\n").utf8) }
      for _ in 0..<Int.random(in: 0...2, using: &random) { mutate(&bytes, &random) }
      let whole = decode(bytes)
      var pieces: [Int] = []
      while let next = Int?.some((pieces.last ?? 0) + Int.random(in: 1...9, using: &random)), next < bytes.count {
        pieces.append(next)
      }
      let split = decode(bytes, pieces: pieces)
      #expect(split.output == whole.output, "seed \(Self.seed), round \(round)")
      #expect(split.error == whole.error, "seed \(Self.seed), round \(round)")
    }
  }

  /// Cases numbered from the seed on, each of which stands for itself.
  ///
  /// `PGCONVOY_FUZZ_SECONDS=3600` runs that long instead of a fixed number of cases, `PGCONVOY_FUZZ_SEED=17` begins at
  /// another case; with both, a finding's own number is tried again by `PGCONVOY_FUZZ_SECONDS=0`.
  @Test func findsNothing() throws {
    let seconds = number("PGCONVOY_FUZZ_SECONDS")
    let first = number("PGCONVOY_FUZZ_SEED") ?? Self.seed
    let end = ContinuousClock.now + .seconds(Int64(seconds ?? 0))
    var cases: UInt64 = 0
    repeat {
      var fuzzed = FuzzCase(seed: first &+ cases)
      let problems = fuzzed.problems()
      if !problems.isEmpty {
        let text = fuzzed.records.map { String(decoding: $0, as: UTF8.self) }
        Issue.record("seed \(first &+ cases): \(problems)\n\(text)\n\(fuzzed.records)")
      }
      cases += 1
    } while seconds == nil ? cases < 2_000 : ContinuousClock.now < end
    if seconds != nil { print("fuzz: seed \(first), \(cases) cases") }
  }

  private func number(_ variable: String) -> UInt64? {
    getenv(variable).flatMap { UInt64(String(cString: $0)) }
  }
}
