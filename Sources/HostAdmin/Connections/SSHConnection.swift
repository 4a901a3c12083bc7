import FoundationEssentials
package import Inventory
package import RemoteHost
import ReplicationModel

/// Reaches a host as the inventory says: by SSH, through other hosts where it says so, or as this very machine.
///
/// - Parameter prompt: asks for an encrypted key's passphrase.
package func connect(
  _ host: Inventory.Host, prompt: (@Sendable (String) -> [UInt8]?)? = nil
) async throws -> any RemoteHost {
  guard !host.isLocal else { return LocalHost(name: host.name) }
  return try await connectBySSH(host, prompt: prompt)
}

func connectBySSH(
  _ host: Inventory.Host, prompt: (@Sendable (String) -> [UInt8]?)? = nil
) async throws -> SSHHost {
  var jump: SSHHost?
  do {
    for hop in host.ssh.jumps {
      let name = "\(hop.address) (on the way to \(host.name))"
      jump = try await connectSSH(try parameters(name, hop.address, hop.settings, jump: jump, prompt))
    }
    return try await connectSSH(try parameters(host.name, host.address, host.ssh, jump: jump, prompt))
  } catch {
    await jump?.close()
    throw error
  }
}

private func parameters(
  _ name: String, _ address: String, _ ssh: SSHSettings, jump: SSHHost?, _ prompt: (@Sendable (String) -> [UInt8]?)?
) throws -> SSHParameters {
  guard let port = UInt16(exactly: ssh.port) else {
    throw ConvoyError("ssh.bad-port", "port \(ssh.port) is none", at: .host(name))
  }
  var passphrase: SSHParameters.PassphraseSource?
  if let command = ssh.passphraseCommand {
    passphrase = {
      Array(
        try await LocalHost().runChecked(.shell(command, deadline: .seconds(60), label: "passphrase_command")).text.utf8
      )
    }
  }
  var parameters = SSHParameters(
    name: name, host: address, port: port, user: ssh.user, identityFile: ssh.identityFile, passphrase: passphrase,
    knownHostsFile: ssh.knownHosts, useAgent: ssh.agent, connectTimeout: ssh.connectTimeout)
  parameters.identitiesOnly = ssh.identitiesOnly
  parameters.moreIdentityFiles = ssh.moreIdentityFiles
  parameters.jump = jump
  parameters.prompt = prompt
  return parameters
}

extension FleetInventory {
  /// Fills in from the user's ssh_config (`ssh -G`) what the inventory leaves open: addresses behind aliases, users,
  /// ports, keys, jump hosts. Without an ssh program the inventory stands alone.
  ///
  /// - Throws: `ssh.bad-config` where ssh refuses the configuration or asks for what is not supported.
  package func resolvedBySSHConfig() async throws -> FleetInventory {
    var resolved = self
    for index in hosts.indices where !hosts[index].isLocal {
      resolved.hosts[index] = try await resolve(hosts[index])
    }
    for index in migrations.indices {
      resolved.migrations[index].syncHosts = resolved.hosts.filter { !$0.isLocal }
      if let host = resolved.host(named: migrations[index].source.name) { resolved.migrations[index].source = host }
      if let host = resolved.host(named: migrations[index].target.name) { resolved.migrations[index].target = host }
    }
    return resolved
  }

  private func resolve(_ host: Inventory.Host) async throws -> Inventory.Host {
    var host = host
    if let output = try await sshConfig(host.address, host.ssh, host.name) {
      host.apply(output, readable: isReadable)
    }
    for text in (host.ssh.proxyJump ?? "none").split(separator: ",") where text.lowercased() != "none" {
      guard let hop = SSHDestination(text.filter { !$0.isWhitespace }) else {
        throw ConvoyError("ssh.bad-config", "cannot read the jump host '\(text)'", at: .host(host.name), kind: .usage)
      }
      var settings = host.ssh
      settings.jumps = []
      settings.proxyJump = nil
      var address = hop.host
      if let output = try await sshConfig(hop.host, host.ssh, host.name) {
        // The host's own keys and known_hosts go for its jump hosts too, unless ssh_config says something else.
        settings.apply(output, isOpen: { ["user", "port"].contains($0) }, readable: isReadable)
        settings.moreIdentityFiles = output.all("identityfile").filter(isReadable)
        address = output["hostname"] ?? address
      }
      settings.user = hop.user ?? settings.user
      settings.port = hop.port ?? settings.port
      host.ssh.jumps.append(SSHHop(address: address, settings: settings))
    }
    return host
  }

  private func sshConfig(_ address: String, _ ssh: SSHSettings, _ name: String) async throws -> SSHConfigOutput? {
    var arguments = ["ssh", "-G"]
    switch ssh.config {
    case .none: return nil
    case .standard: break
    case .file(let path): arguments += ["-F", path]
    }
    let result = try await LocalHost().run(RemoteCommand(arguments + ["--", address], deadline: .seconds(20)))
    if result.exitStatus == 127 { return nil }
    guard result.succeeded else {
      throw ConvoyError(
        "ssh.bad-config", "ssh -G \(address) failed: \(result.errorText.split(separator: "\n").last ?? "no word why")",
        at: .host(name), hint: "correct the ssh_config, or set ssh.config to none for that host", kind: .usage)
    }
    let output = SSHConfigOutput(parsing: result.text)
    if let command = output["proxycommand"], command.lowercased() != "none" {
      throw ConvoyError(
        "ssh.bad-config", "ssh_config has a ProxyCommand for \(address), which is not supported", at: .host(name),
        hint: "use ProxyJump there, or set ssh.config to none and ssh.proxy_jump for that host", kind: .usage)
    }
    return output
  }
}

private func isReadable(_ path: String) -> Bool {
  let home = ProcessInfo.processInfo.environment["HOME"] ?? ""
  return FileManager.default.isReadableFile(atPath: path.hasPrefix("~/") ? home + path.dropFirst() : path)
}
