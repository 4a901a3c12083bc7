/// An argument as `sh` reads it back, byte for byte: `it's` becomes `'it'\''s'`, the empty string `''`.
///
/// Words that can mean nothing else stay bare, so that a step's diff reads as a person would type it. (A leading `-`
/// isn't the shell's business: put `--` before an argument that may look like an option.)
public func shellQuoted(_ argument: String) -> String {
  if isPlainWord(argument) { return argument }
  var quoted = "'"
  for scalar in argument.unicodeScalars {
    if scalar == "'" { quoted += "'\\''" } else { quoted.unicodeScalars.append(scalar) }
  }
  return quoted + "'"
}

/// As `shellQuoted(_: String)`, for bytes that need not be UTF-8. Byte 0 cannot be in an argument and is left out.
public func shellQuoted(_ argument: [UInt8]) -> [UInt8] {
  let apostrophe = UInt8(ascii: "'")
  var quoted = [apostrophe]
  for byte in argument where byte != 0 {
    if byte == apostrophe { quoted += Array("'\\''".utf8) } else { quoted.append(byte) }
  }
  return quoted + [apostrophe]
}

/// A command line that `sh` reads back as these arguments.
public func shellQuoted(_ arguments: [String]) -> String {
  arguments.map { shellQuoted($0) }.joined(separator: " ")
}

private let reservedWords: Set<String> = [
  "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in", "function", "select",
  "time", "coproc",
]

private func isPlainWord(_ word: String) -> Bool {
  guard !word.isEmpty, !reservedWords.contains(word) else { return false }
  // Before a `=` anything but an option would be an assignment in the first place of a command.
  let mayHaveEquals = word.utf8.first == UInt8(ascii: "-")
  return word.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "/"), UInt8(ascii: ":"),
      UInt8(ascii: ","), UInt8(ascii: "@"), UInt8(ascii: "+"):
      true
    case UInt8(ascii: "="): mayHaveEquals
    default: false
    }
  }
}
