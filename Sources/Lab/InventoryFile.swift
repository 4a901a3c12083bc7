import ReplicationModel

/// The files that lead pgconvoy, libpq and the shell to the lab.
struct LabFiles: Sendable {
  var lab: LabDescription
  var passwords: LabPasswords

  func write() throws {
    try writeFile(lab.environmentFile, environment, mode: 0o600)
    try writeFile(lab.passfile, passfile, mode: 0o600)
    try writeFile(lab.inventoryFile, inventory)
  }

  /// `NAME='value'` lines, for a shell's `.` and for `parseEnvironment`.
  var environment: String {
    var text = ""
    for host in lab.hosts {
      let name = host.name == LabDescription.sourceName ? "LAB_SOURCE" : "LAB_TARGET"
      let place = "\(host.address):\(host.postgresPort)"
      text += "\(name)_URI='postgresql://pgconvoy:\(passwords.pgconvoy)@\(place)'\n"
      text += "\(name)_APP_URI='postgresql://app:\(passwords.app)@\(place)'\n"
    }
    return text
  }

  /// <https://www.postgresql.org/docs/15/libpq-pgpass.html>
  var passfile: String {
    lab.hosts.flatMap { host in
      ["replication", "*"].map { "\(host.address):\(host.postgresPort):\($0):pgconvoy:\(passwords.pgconvoy)\n" }
    }.joined()
  }

  var inventory: String {
    var text = """
      # The pgconvoy lab. Made by 'pgconvoy lab up', gone with 'pgconvoy lab down'.
      hosts:

      """
    for host in lab.hosts {
      text += """
          \(host.name):
            address: \(host.address)
            ssh:
              port: \(host.sshPort)
              user: \(yaml(lab.sshUser))
              identity_file: \(yaml(lab.identityFile))
              known_hosts: \(yaml(lab.knownHosts))
            postgres:
              address: \(host.address)
              port: \(host.postgresPort)
              user: pgconvoy
              passfile: \(yaml(lab.passfile))
              os_user: \(yaml(lab.osUser))
              data_directory: \(yaml(host.dataDirectory))
              bin_directory: \(yaml(lab.pgBin))
              socket_directory: \(yaml(host.socketDirectory))
              log_file: \(yaml(host.postgresLog))
            service_directory: \(yaml(host.serviceDirectory))

        """
    }
    text += """
      migrations:
        lab:
          source: \(LabDescription.sourceName)
          target: \(LabDescription.targetName)
          databases: all
          services:

      """
    for service in LabDescription.services { text += "      - { name: \(service), manager: runit }\n" }
    // Each host's sshd gives its sessions the directory that stands for the host's root.
    text += "    version_check: 'cat \"$PGCONVOY_LAB_HOST/version-manifest.txt\" | head -1'\n"
    return text
  }

  /// A double-quoted YAML scalar.
  private func yaml(_ value: String) -> String {
    var quoted = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"", "\\": quoted += "\\\(scalar)"
      case "\n": quoted += "\\n"
      case "\t": quoted += "\\t"
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}

/// Reads `NAME='value'` lines; other lines say nothing.
func parseEnvironment(_ text: String) -> [String: String] {
  var variables: [String: String] = [:]
  for line in text.split(separator: "\n") {
    guard let equals = line.firstIndex(of: "=") else { continue }
    let value = line[line.index(after: equals)...]
    guard value.count >= 2, value.first == "'", value.last == "'" else { continue }
    variables[String(line[..<equals])] = String(value.dropFirst().dropLast())
  }
  return variables
}
