import FoundationEssentials
import Presentation
import Testing

@Suite struct Numbers {
  @Test(
    arguments: [
      (nil, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (1536, "1.5 kB"), (1_258_291, "1.2 MB"),
      (102_348, "99.9 kB"), (102_399, "100 kB"), (1_048_063, "1023 kB"), (1_048_064, "1.0 MB"), (1_048_575, "1.0 MB"),
      (5 << 30, "5.0 GB"), (1 << 60, "1.0 EB"), (UInt64.max, "16.0 EB"),
    ] as [(UInt64?, String)])
  func bytes(value: UInt64?, expected: String) {
    #expect(HumanFormat.bytes(value) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 kB"), (102_399, "100.0 kB"), (121_138, "118.3 kB"),
      (1_048_524, "1023.9 kB"), (1_048_525, "1.0 MB"), (5 << 30, "5.0 GB"), (3 << 50, "3.0 PB"),
      (UInt64.max, "16.0 EB"),
    ] as [(UInt64?, String)])
  func bytesInASentence(value: UInt64?, expected: String) {
    #expect(HumanFormat.bytes(value, .sentence) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0 B"), (1023, "1023 B"), (1_600_000_000, "1.4 GB"), (102_399, "99.9 kB"),
      (1_048_575, "1023.9 kB"),
      (1_048_576, "1.0 MB"), ((1 << 60) - 1, "1023.9 PB"), (UInt64.max, "15.9 EB"),
    ] as [(UInt64?, String)])
  func bytesThatWereCarried(value: UInt64?, expected: String) {
    #expect(HumanFormat.bytes(value, .carried) == expected)
  }

  /// Just below and at the beginning of every unit.
  @Test(arguments: Array(zip(["kB", "MB", "GB", "TB", "PB", "EB"], ["B", "kB", "MB", "GB", "TB", "PB"]).enumerated()))
  func bytesAtABorder(index: Int, units: (String, String)) {
    let unit = UInt64(1) << UInt64(10 * (index + 1))
    for form in [HumanFormat.ByteForm.column, .sentence, .carried] {
      #expect(HumanFormat.bytes(unit, form) == "1.0 \(units.0)")
      #expect(HumanFormat.bytes(unit + unit / 2, form) == "1.5 \(units.0)")
    }
    let word = index == 0 ? "bytes" : units.1
    #expect(HumanFormat.bytes(unit - 1) == (index == 0 ? "1023 B" : "1.0 \(units.0)"))
    #expect(HumanFormat.bytes(unit - 1, .sentence) == (index == 0 ? "1023 \(word)" : "1.0 \(units.0)"))
    #expect(HumanFormat.bytes(unit - 1, .carried) == (index == 0 ? "1023 B" : "1023.9 \(units.1)"))
  }

  @Test(
    arguments: [
      (0, .seconds(1), "0 B/s"), (1_600_000_000, .seconds(185), "8.2 MB/s"), (1024, .milliseconds(500), "2.0 kB/s"),
      (1, .zero, "–"), (1, .seconds(-1), "–"), (UInt64.max, .nanoseconds(1), "888.1 PB/s"),
    ] as [(UInt64, Duration, String)])
  func byteRates(bytes: UInt64, duration: Duration, expected: String) {
    #expect(HumanFormat.rate(bytes: bytes, over: duration, .carried) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0 s"), (0.0001, "0 s"), (0.25, "250 ms"), (0.9999, "1.0 s"), (4.24, "4.2 s"), (59.94, "59.9 s"),
      (59.96, "1 min 0 s"), (185, "3 min 5 s"), (3599.6, "1 h 0 min"), (8040, "2 h 14 min"), (86_400, "1 d 0 h"),
      (273_600, "3 d 4 h"), (-5, "0 s"), (.nan, "–"), (.infinity, "–"), (1e300, "11,574,074 d 1 h"),
    ] as [(Double?, String)])
  func durations(value: Double?, expected: String) {
    #expect(HumanFormat.duration(seconds: value) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (1, "1 ms"), (999, "999 ms"), (1000, "1.0 s"), (59_949, "59.9 s"), (59_950, "1 min 0 s"),
      (3_599_499, "59 min 59 s"), (3_599_500, "1 h 0 min"), (86_399_499, "23 h 59 min"), (86_399_500, "1 d 0 h"),
      (UInt64.max, "213,503,982,334 d 14 h"),
    ] as [(UInt64?, String)])
  func durationsAtABorder(milliseconds: UInt64?, expected: String) {
    #expect(HumanFormat.duration(milliseconds: milliseconds) == expected)
  }

  @Test(arguments: [
    (Duration.milliseconds(49), "0.0s"), (.milliseconds(51), "0.1s"), (.milliseconds(59_940), "59.9s"),
    (.milliseconds(59_960), "1m00s"), (.seconds(3599), "59m59s"), (.seconds(3600), "1h00m"),
    (.seconds(90_000), "25h00m"), (.seconds(-1), "0.0s"), (.seconds(Int64.max), "277777777h46m"),
  ])
  func times(_ duration: Duration, _ expected: String) {
    #expect(HumanFormat.elapsed(duration) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"),
      (UInt64.max, "18,446,744,073,709,551,615"),
    ] as [(UInt64?, String)])
  func counts(value: UInt64?, expected: String) {
    #expect(HumanFormat.count(value) == expected)
  }

  @Test(arguments: [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows"), (-1, "0 rows")])
  func countedThings(number: Int, expected: String) {
    #expect(HumanFormat.counted(number, "row") == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0"), (0.44, "0.4"), (9.96, "10"), (3, "3"), (12_345.6, "12,346"), (.nan, "–"), (-1, "0"),
    ] as [(Double?, String)])
  func rates(value: Double?, expected: String) {
    #expect(HumanFormat.rate(value) == expected)
  }

  @Test func moments() {
    #expect(HumanFormat.moment(Date(timeIntervalSince1970: 1_772_359_200.9)) == "2026-03-01T10:00:00Z")
  }
}
