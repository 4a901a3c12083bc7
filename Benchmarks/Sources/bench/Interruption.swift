import BlockingIO
import Foundation

/// Told to end, the harness ends whatever it has started; `scripts/bench` stops the servers then.
enum Interruption {
  private static let wakeUp = WakeUp()

  static func arm() {
    startThread(name: "interruption") {
      _ = poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: .never)
      for member in CPU.members(getpid()).dropFirst() { kill(member, SIGTERM) }
      _exit(128 + SIGTERM)
    }
    for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _ in Interruption.wakeUp.signal() } }
  }
}
