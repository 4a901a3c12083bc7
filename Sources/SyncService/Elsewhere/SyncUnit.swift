import Inventory
import MigrationCore
package import RemoteHost

/// What a manager is given, and told, to keep a sync process running.
package struct SyncUnit: Sendable {
  let place: SyncPlace
  let migration: String

  package init(_ place: SyncPlace, migration: String) {
    self.place = place
    self.migration = migration
  }

  /// Longer than workers may take to finish what they have in hand.
  private static let patience = 60

  // MARK: files

  var files: [HostedFile] {
    switch place.manager {
    case .systemd: [HostedFile(systemdPath, mode: 0o644, text: systemdUnit)]
    case .runit: [HostedFile(service + "/run", mode: 0o700, text: runitScript)]
    case .detached: []
    }
  }

  private var systemdPath: String { "/etc/systemd/system/\(place.unit).service" }

  /// <https://www.freedesktop.org/software/systemd/man/252/systemd.service.html>
  package var systemdUnit: String {
    """
    [Unit]
    Description=pgconvoy sync workers of migration \(migration)
    After=network-online.target
    Wants=network-online.target
    StartLimitIntervalSec=0

    [Service]
    ExecStart=\(place.run)
    Restart=always
    RestartSec=1
    TimeoutStopSec=\(Self.patience)
    UMask=0077

    [Install]
    WantedBy=multi-user.target

    """
  }

  private var service: String { place.directory + "/service" }
  /// There while runit watches it.
  private var supervised: String { service + "/supervise/ok" }
  /// What runit finds it by.
  private var link: String { "\(place.serviceDirectory)/\(place.unit)" }

  private var runitScript: String {
    """
    #!/bin/sh
    exec >>\(shellQuoted(place.log)) 2>&1
    exec \(shellQuoted(place.run))

    """
  }

  // MARK: commands

  var directories: RemoteCommand {
    .shell(
      "umask 077; mkdir -p -- \"$@\"",
      arguments: [place.root + "/bin/" + place.digest, place.state] + (place.manager == .runit ? [service] : []),
      deadline: .seconds(30), label: "making directories")
  }

  /// It runs from here on, and after a reboot where the manager is there for that.
  package var start: RemoteCommand {
    switch place.manager {
    case .systemd:
      command("systemctl daemon-reload && systemctl enable -q \"$1\" && systemctl restart \"$1\"", [place.unit])
    case .runit:
      command(
        """
        ln -sfn -- "$1" "$2" || exit 1
        i=0
        while [ ! -p "$3" ] || ! sv status "$1" >/dev/null 2>&1; do
          i=$((i+1)); [ $i -le 100 ] || { echo "runsvdir has not taken up $2" >&2; exit 1; }; sleep 0.2
        done
        sv -w 30 start "$1" >/dev/null
        """, [service, link, supervised])
    case .detached:
      command("exec setsid -f \"$1\" --exit-when-done >>\"$2\" 2>&1 </dev/null", [place.run, place.log])
    }
  }

  /// It ends, and nothing starts it again. Does nothing where it is not there.
  package var stop: [RemoteCommand] {
    switch place.manager {
    case .systemd:
      [
        command(
          "if systemctl cat -- \"$1\" >/dev/null 2>&1; then systemctl disable -q --now \"$1\"; fi",
          [place.unit + ".service"]), end,
      ]
    case .runit:
      [
        command(
          """
          rm -f -- "$2"
          if [ -p "$3" ] && sv status "$1" >/dev/null 2>&1; then sv -w \(Self.patience) exit "$1" >/dev/null; fi
          """, [service, link, supervised]), end,
      ]
    case .detached: [end]
    }
  }

  /// Whoever still holds the lock of the state directory ends; this command's end says that nobody does.
  private var end: RemoteCommand {
    command("[ ! -x \"$1\" ] || exec \"$1\" hosted-sync end --state \"$2\"", [place.program, place.state])
  }

  /// All that was put there, and programs that no migration's process has any more.
  package var removal: RemoteCommand {
    let isUnit = place.manager == .systemd
    return command(
      (isUnit ? "rm -f -- \"$3\"; systemctl daemon-reload\n" : "") + """
        rm -rf -- "$1"
        \(Self.pruningScript)
        rmdir -- "$2"/bin "$2"/sync "$2" 2>/dev/null || :
        """, [place.directory, place.root] + (isUnit ? [systemdPath] : []))
  }

  /// Programs that no migration's process has any more.
  var pruning: RemoteCommand { command(Self.pruningScript, [place.directory, place.root]) }

  private static let pruningScript = """
    for p in "$2"/bin/*; do grep -qsF -- "$p/" "$2"/sync/*/run || rm -rf -- "$p"; done
    """

  private func command(_ script: String, _ arguments: [String]) -> RemoteCommand {
    .shell(
      script, arguments: arguments, deadline: .seconds(Self.patience + 60),
      label: "the sync process of migration \(migration)")
  }
}
