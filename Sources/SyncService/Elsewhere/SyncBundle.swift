import FoundationEssentials
import HostAdmin
import Inventory
import MigrationCore
import PostgresClient
import Presentation
import RemoteHost
import ReplicationModel

/// What a sync process needs on its host, and no more: the program, an inventory of its one migration, the passwords and
/// certificates for its two servers, and what its manager starts. It is reached from there by SQL only, so no key for SSH.
struct SyncBundle: Sendable {
  let context: MigrationContext
  let place: SyncPlace

  private var migration: Inventory.Migration { context.migration }

  // MARK: files

  /// In the order in which they are put: a program is kept for whom a script names it.
  func files() -> [HostedFile] {
    [.init(place.inventory, mode: 0o600, text: inventory), passwords] + certificates
      + [.init(place.run, mode: 0o700, text: runScript)] + SyncUnit(place, migration: migration.name).files + [program]
  }

  /// Those that are not there as they should be. Passwords are compared by what the host says of its file.
  func missing() async throws -> [HostedFile] {
    let files = files()
    let remote = try await context.remote(named: place.host)
    let lines = try await remote.runChecked(
      .shell(
        """
        for file in "$@"; do
          if [ -f "$file" ]; then echo "$(sha256sum <"$file" | cut -c 1-64) $(stat -c %a -- "$file")"; else echo -; fi
        done
        """, arguments: files.map(\.path), deadline: .seconds(120), label: "looking at what is there"
      ).asking
    ).text.split(separator: "\n").map(String.init)
    guard lines.count == files.count else { return files }
    var missing: [HostedFile] = []
    for (file, line) in zip(files, lines) {
      let mode = String(file.mode, radix: 8)
      if file.path == place.program, line.hasPrefix(place.digest), line.hasSuffix(" " + mode) { continue }
      if file.path != place.program, line == hexadecimal(sha256(try await file.make())) + " " + mode { continue }
      missing.append(file)
    }
    return missing
  }

  private func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  private var program: HostedFile {
    let path = context.environment.program
    return HostedFile(place.program, mode: 0o755) {
      guard let data = FileManager.default.contents(atPath: path) else {
        throw ConvoyError("sync.no-program", "the program cannot be read", at: .path(path))
      }
      return Array(data)
    }
  }

  /// One line for each server, whatever the workstation has them from.
  private var passwords: HostedFile {
    HostedFile(place.passfile, mode: 0o600) { [context, place] in
      var text = ""
      for side in Side.allCases {
        guard let password = try await context.session(side).passwordInUse(), !password.isEmpty else { continue }
        let host = context.migration.host(side)
        text += Quarantine.passfileLine(
          host: context.migration.address(of: side, from: place.host), port: host.postgres.port, database: "*",
          user: host.postgres.user, password: password)
      }
      return Array(text.utf8)
    }
  }

  /// What libpq would take on this machine, where it is there.
  /// <https://www.postgresql.org/docs/15/libpq-ssl.html>
  private var certificates: [HostedFile] {
    SyncCertificate.allCases.compactMap { certificate in
      let source = certificate.path(context.environment.variables)
      guard FileManager.default.fileExists(atPath: source) else { return nil }
      return HostedFile(certificate.path(in: place), mode: 0o600) {
        guard let data = FileManager.default.contents(atPath: source) else {
          throw ConvoyError("sync.no-certificate", "the file cannot be read", at: .path(source))
        }
        return Array(data)
      }
    }
  }

  // MARK: texts

  /// The process's own: both servers as seen from its host, and nothing that needs SSH.
  var inventory: String {
    var text = "# Of pgconvoy's sync process for migration \(migration.name); put here by start_sync.\nhosts:\n"
    for side in Side.allCases {
      let host = migration.host(side)
      let postgres = host.postgres
      text += """
          \(quoted(host.name)):
            local: true
            postgres:
              address: \(quoted(migration.address(of: side, from: place.host)))
              port: \(postgres.port)
              user: \(quoted(postgres.user))
              database: \(quoted(postgres.maintenanceDatabase))
              passfile: \(quoted(place.passfile))
              sslmode: \(postgres.sslMode.rawValue)
              connect_timeout: \(postgres.connectTimeout.components.seconds)s

        """
    }
    return text + """
      migrations:
        \(quoted(migration.name)):
          source: \(quoted(migration.source.name))
          target: \(quoted(migration.target.name))
          ddl: \(migration.ddl.rawValue)

      """
  }

  /// With a home of its own libpq finds no other user's certificates and password file.
  private var runScript: String {
    let exports = SyncCertificate.allCases.compactMap { certificate in
      FileManager.default.fileExists(atPath: certificate.path(context.environment.variables))
        ? "export \(certificate.variable)=\(shellQuoted(certificate.path(in: place)))\n" : nil
    }.joined()
    return """
      #!/bin/sh
      # pgconvoy's sync process for migration \(migration.name)
      unset PGPASSFILE PGPASSWORD PGSERVICE PGSERVICEFILE PGSSLROOTCERT PGSSLCRL PGSSLCERT PGSSLKEY
      export HOME=\(shellQuoted(place.directory))
      \(exports)umask 077
      exec \(shellQuoted(place.program)) sync -i \(shellQuoted(place.inventory)) --state \(shellQuoted(place.state)) "$@"

      """
  }

  /// A JSON string is a YAML scalar in double quotes.
  private func quoted(_ text: String) -> String {
    var bytes: [UInt8] = []
    bytes.append(jsonString: text)
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension Inventory.Migration {
  /// Where a host that runs the sync process reaches a side's server: its own as the inventory says, the other one as the
  /// two servers reach each other, and from a third host as from the workstation.
  func address(of side: Side, from name: String) -> String {
    let host = host(side)
    let isOtherSide = name != host.name && (name == source.name || name == target.name)
    return isOtherSide || host.isLocal ? host.postgres.replicationAddress : host.postgres.address
  }
}

/// The files of libpq's TLS, each with the variable that names it.
enum SyncCertificate: String, CaseIterable {
  case root = "root.crt"
  case revoked = "root.crl"
  case client = "postgresql.crt"
  case key = "postgresql.key"

  var variable: String {
    switch self {
    case .root: "PGSSLROOTCERT"
    case .revoked: "PGSSLCRL"
    case .client: "PGSSLCERT"
    case .key: "PGSSLKEY"
    }
  }

  /// On this machine.
  func path(_ variables: [String: String]) -> String {
    variables[variable] ?? (variables["HOME"] ?? "") + "/.postgresql/" + rawValue
  }

  func path(in place: SyncPlace) -> String { place.directory + "/" + rawValue }
}
