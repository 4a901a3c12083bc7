import BlockingIO
import Glibc
import Lab
import TestSupport
import Testing

extension LabHost {
  var hba: String { dataDirectory + "/pg_hba.conf" }
}

extension Scenario {
  /// Puts a text into a server's pg_hba.conf, as a configuration management does, and has the server load it.
  func putPgHba(_ text: String, _ host: LabHost) async throws {
    let (hba, pidFile) = (host.hba, host.dataDirectory + "/postmaster.pid")
    let script = """
      printf '%s' "$2" > "$1.managed" && mv "$1.managed" "$1" && kill -HUP "$(head -n 1 "$3")"
      """
    try asServer(["/bin/sh", "-c", script, "sh", hba, text, pidFile])
  }

  /// Puts a text into a server's pg_hba.conf every 200 ms, until it is told to stop.
  func keepPuttingPgHba(_ text: String, _ host: LabHost, until stop: Flag) async throws {
    while !stop.isRaised {
      try await putPgHba(text, host)
      try? await Task.sleep(for: .milliseconds(200))
    }
  }
}
