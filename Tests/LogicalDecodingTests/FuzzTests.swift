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
    var random = Random(seed: Self.seed + 2)
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
    var random = Random(seed: Self.seed + 4)
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

  private func mutate(_ bytes: inout [UInt8], _ random: inout Random) {
    guard !bytes.isEmpty else { return }
    let special = Array("'\"[]: .,\\\nB0n(\r".utf8)
    let position = Int.random(in: 0..<bytes.count, using: &random)
    switch Int.random(in: 0..<6, using: &random) {
    case 0: bytes[position] = UInt8.random(in: 0...255, using: &random)
    case 1: bytes[position] = special.randomElement(using: &random) ?? 0
    case 2: bytes.remove(at: position)
    case 3: bytes.insert(special.randomElement(using: &random) ?? 0, at: position)
    case 4: bytes.removeSubrange(position...)
    default:
      let end = Int.random(in: position...min(bytes.count, position + 20), using: &random)
      bytes.insert(contentsOf: bytes[position..<end], at: Int.random(in: 0...bytes.count, using: &random))
    }
  }
}
