import Foundation
import Inventory
import TestSupport
import Testing

/// The manifests of docs/kubernetes fit each other: the names, the paths, one pod at a time. That they are what Kubernetes
/// takes is for a validator with its schemas, which a test does without.
@Suite struct KubernetesTests {
  private func manifest(_ name: String) throws -> YAMLValue {
    try YAMLDocument.read(path: "\(repositoryRoot)/docs/kubernetes/\(name).yaml")
  }

  @Test func theManifestsFitEachOther() throws {
    let (map, claim, deployment) = (try manifest("configmap"), try manifest("volume"), try manifest("deployment"))
    for (one, kind) in [(map, "ConfigMap"), (claim, "PersistentVolumeClaim"), (deployment, "Deployment")] {
      #expect(one["kind"]?.text == kind && one["metadata", "namespace"]?.text == "pgconvoy")
    }
    #expect(deployment["spec", "replicas"]?.text == "1")
    #expect(deployment["spec", "strategy", "type"]?.text == "Recreate")
    #expect(
      deployment["spec", "selector", "matchLabels"]?.same == deployment["spec", "template", "metadata", "labels"]?.same)
    let pod = try #require(deployment["spec", "template", "spec"])
    let volumes = try #require(pod["volumes"]?.elements)
    func volume(_ name: String) -> YAMLValue? { volumes.first { $0["name"]?.text == name } }
    #expect(volume("inventory")?["configMap", "name"]?.text == map["metadata", "name"]?.text)
    #expect(volume("state")?["persistentVolumeClaim", "claimName"]?.text == claim["metadata", "name"]?.text)
    let container = try #require(pod["containers"]?.elements.first)
    let mounts = try #require(container["volumeMounts"]?.elements)
    func path(_ name: String) -> String? { mounts.first { $0["name"]?.text == name }?["mountPath"]?.text }
    for mount in mounts { #expect(volume(mount["name"]?.text ?? "") != nil) }
    let command = try #require(container["command"]?.elements).compactMap(\.text)
    #expect(
      command.prefix(6) == [
        "pgconvoy", "sync", "-i", "\(path("inventory") ?? "")/inventory.yml", "--state", path("state") ?? "",
      ])

    // What the pod reads as its inventory.
    let text = try #require(map["data", "inventory.yml"]?.text)
    let inventory = try FleetInventory.parse(text, path: "/etc/convoy/inventory.yml", user: someone)
    let migration = try #require(inventory.migrations.first)
    #expect(inventory.migrations.count == 1 && migration.sync.host == nil)
    let secrets = try #require(path("secrets"))
    #expect(migration.source.ssh.identityFile == secrets + "/id_ed25519")
    #expect(migration.source.ssh.knownHosts == secrets + "/known_hosts")
    #expect(migration.target.postgres.password == .passfile(secrets + "/pgpass"))
  }
}

extension YAMLValue {
  fileprivate subscript(_ keys: String...) -> YAMLValue? {
    keys.reduce(self as YAMLValue?) { value, key in
      guard case .mapping(let entries)? = value?.content else { return nil }
      return entries.first { $0.key == key }?.value
    }
  }

  fileprivate var elements: [YAMLValue] {
    if case .sequence(let elements) = content { elements } else { [] }
  }

  /// Without its places.
  fileprivate var same: [String: String]? {
    guard case .mapping(let entries) = content else { return nil }
    return Dictionary(entries.map { ($0.key, $0.value.text ?? "") }, uniquingKeysWith: { first, _ in first })
  }
}
