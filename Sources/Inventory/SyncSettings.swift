/// What keeps a sync process running on a host.
public enum SyncManager: String, Sendable, Codable, CaseIterable {
  case systemd, runit
  /// Nothing: a process in a session of its own, which a play starts again where it has ended.
  case detached
}

/// Where a migration's workers run.
public struct SyncSettings: Sendable, Equatable {
  /// The word for the machine that plays run on.
  public static let workstation = "workstation"

  /// The host's name in the inventory; nil: the workstation.
  public var host: String?
  public var manager: SyncManager
  /// On the host, where the program, credentials and state go; nil: `.pgconvoy` in the home of its SSH user.
  public var directory: String?

  public init(host: String? = nil, manager: SyncManager = .detached, directory: String? = nil) {
    self.host = host
    self.manager = manager
    self.directory = directory
  }
}

/// The same before its host is looked up.
struct SyncDraft {
  var on: YAMLEntry?
  var manager: SyncManager
  var directory: String?
  /// What the migration itself says for a sync process on a host.
  var ofHost: [YAMLEntry]
}

extension InventoryReader {
  func sync(_ outer: Layers) -> SyncDraft {
    let layers = outer.inner("sync", keys: InventoryKeys.sync)
    let own = outer.layers.first?["sync"] == nil ? nil : layers.layers.first
    return SyncDraft(
      on: layers.optional("on") { problems.string($0) == nil ? nil : $0 },
      manager: layers.value("manager", default: .detached) { problems.choice($0) },
      directory: layers.optional("directory") { paths.remote($0, problems) },
      ofHost: ["manager", "directory"].compactMap { own?[$0] }.filter { $0.value.text != SyncManager.detached.rawValue }
    )
  }

  /// The words `workstation`, `source` and `target` come before hosts of these names.
  func sync(_ draft: SyncDraft, source: Host, target: Host, hosts: [Host]) -> SyncSettings {
    guard let entry = draft.on, let word = entry.value.text, word != SyncSettings.workstation else {
      for entry in draft.ofHost {
        problems.add(
          "conflicting-keys", "\(entry.key) is for a sync process on a host, not for one on the workstation",
          at: entry.place, hint: "name the host with 'on'; a service of your own runs 'pgconvoy sync' here")
      }
      return SyncSettings()
    }
    let found: Host? =
      switch Side(rawValue: word) {
      case .source: source
      case .target: target
      case nil: hosts.first { $0.name == word }
      }
    guard let host = found else {
      let words = [SyncSettings.workstation] + Side.allCases.map(\.rawValue) + hosts.map(\.name)
      problems.add(
        "unknown-host", "unknown host '\(word)'", at: entry.value.place,
        hint: suggestion(for: word, among: words, what: "places"))
      return SyncSettings()
    }
    if host.isLocal {
      problems.add(
        "sync-without-ssh", "a sync process is put on a host through SSH, and host \(host.name) is this machine",
        at: entry.value.place, hint: "write 'on: workstation'")
    }
    return SyncSettings(host: host.name, manager: draft.manager, directory: draft.directory)
  }
}
