import BlockingIO
import Glibc

/// SIGINT and SIGTERM cancel the command's task, which finishes or undoes what is in hand; a second one ends the
/// process at once (killing it is safe at any moment).
enum Interrupts {
  private static let wakeUp = WakeUp()

  static func install() {
    // Touched before any handler can run.
    _ = wakeUp.fileDescriptor
    for number in [SIGINT, SIGTERM] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { _ in Interrupts.wakeUp.signal() }
      sigemptyset(&action.sa_mask)
      action.sa_flags = Int32(SA_RESTART)
      sigaction(number, &action, nil)
    }
  }

  static func onInterrupt(_ handler: @escaping @Sendable () -> Void) {
    startThread(name: "signals") {
      while poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: .never)[0] == 0 {}
      wakeUp.drain()
      handler()
      while poll([(wakeUp.fileDescriptor, Int16(POLLIN))], until: .never)[0] == 0 {}
      _exit(3)
    }
  }
}
