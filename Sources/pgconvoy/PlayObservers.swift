import Playbook

/// Writes events to standard output as they happen.
struct PlayPrinter: PlayObserver {
  let text: PlayEventText

  func observe(_ event: PlayEvent) async {
    let lines = text.lines(event)
    if !lines.isEmpty { Terminal.output(lines.joined(separator: "\n")) }
  }
}
