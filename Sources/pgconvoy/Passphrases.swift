import Glibc
import Synchronization

/// Passphrases of private keys, asked for on the terminal without an echo; each key's once, whatever asks.
enum Passphrases {
  /// Held while a person is asked, so that no two questions mix.
  private static let known = Mutex<[String: [UInt8]]>([:])

  /// Nil without a terminal, and when the person gives none. Blocks until there is an answer.
  static func ask(_ key: String) -> [UInt8]? {
    known.withLock { known in
      if let passphrase = known[key] { return passphrase }
      guard let passphrase = read("passphrase for \(key): "), !passphrase.isEmpty else { return nil }
      known[key] = passphrase
      return passphrase
    }
  }

  private static func read(_ question: String) -> [UInt8]? {
    let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard terminal >= 0 else { return nil }
    defer { close(terminal) }
    var before = termios()
    guard tcgetattr(terminal, &before) == 0 else { return nil }
    var silent = before
    silent.c_lflag &= ~tcflag_t(ECHO)
    silent.c_lflag |= tcflag_t(ECHONL)
    guard tcsetattr(terminal, TCSAFLUSH, &silent) == 0 else { return nil }
    defer { tcsetattr(terminal, TCSAFLUSH, &before) }
    _ = write(terminal, question, question.utf8.count)
    var answer: [UInt8] = []
    var byte: UInt8 = 0
    while Glibc.read(terminal, &byte, 1) == 1, byte != UInt8(ascii: "\n") { answer.append(byte) }
    return answer
  }
}
