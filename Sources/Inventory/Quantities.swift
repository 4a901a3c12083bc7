/// Durations and sizes as people write them.
public enum Quantities {
  /// `30`, `30s`, `500ms`, `5m`, `2h`, `1d`, also with a fraction (`1.5h`); a bare number counts seconds.
  /// Nil when it is anything else, negative numbers included.
  public static func duration(_ text: String) -> Duration? {
    let units: [(String, Double)] = [
      ("ms", 0.001), ("min", 60), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("", 1),
    ]
    guard let seconds = number(text, units: units), seconds <= 1e9 else { return nil }
    return .milliseconds(Int64((seconds * 1000).rounded()))
  }

  /// Bytes: `1048576`, `16MB`, `100kB`, `1.5GB`; units are PostgreSQL's (B, kB, MB, GB, TB, powers of 1024), a bare
  /// number counts bytes. Nil when it is anything else, negative numbers included.
  public static func size(_ text: String) -> UInt64? {
    let units: [(String, Double)] = [
      ("kB", 1024), ("KB", 1024), ("MB", 1_048_576), ("GB", 1_073_741_824), ("TB", 1_099_511_627_776), ("B", 1),
      ("", 1),
    ]
    guard let bytes = number(text, units: units), bytes < 9e18 else { return nil }
    return UInt64(bytes.rounded())
  }

  /// The shortest exact form that `duration` reads: `5m`, `90s`, `250ms`.
  public static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    if attoseconds != 0 { return "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)ms" }
    for (unit, factor) in [("d", Int64(86_400)), ("h", 3600), ("m", 60)]
    where seconds != 0 && seconds.isMultiple(of: factor) {
      return "\(seconds / factor)\(unit)"
    }
    return "\(seconds)s"
  }

  /// The shortest exact form that `size` reads: `16MB`, `100kB`, `1000B`.
  public static func text(bytes: UInt64) -> String {
    for (unit, shift) in [("TB", UInt64(40)), ("GB", 30), ("MB", 20), ("kB", 10)]
    where bytes != 0 && bytes.isMultiple(of: 1 << shift) {
      return "\(bytes >> shift)\(unit)"
    }
    return "\(bytes)B"
  }

  /// The words that are true and false in a setting, YAML 1.1's and PostgreSQL's.
  public static func boolean(_ text: String) -> Bool? {
    switch text.lowercased() {
    case "true", "yes", "on": true
    case "false", "no", "off": false
    default: nil
    }
  }

  private static func number(_ text: String, units: [(String, Double)]) -> Double? {
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    var unit = text.dropFirst(digits.count)
    while unit.first == " " { unit = unit.dropFirst() }
    guard digits.first?.isNumber == true, digits.last?.isNumber == true, digits.count <= 20,
      let value = Double(digits), let factor = units.first(where: { $0.0 == unit })?.1
    else { return nil }
    return value * factor
  }
}
