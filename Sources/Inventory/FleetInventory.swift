import Glibc

/// What this machine contributes to an inventory: where `~` is, and who logs in where no user is named.
public struct LocalUser: Sendable, Equatable {
  public var name: String
  public var home: String

  public init(name: String, home: String) {
    self.name = name
    self.home = home
  }

  /// HOME, and the user that this process runs as.
  public static var current: LocalUser {
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    var buffer = [CChar](repeating: 0, count: 16_384)
    let status = getpwuid_r(geteuid(), &entry, &buffer, buffer.count, &found)
    let known = status == 0 && found != nil
    let name = known ? String(cString: entry.pw_name) : String(geteuid())
    if let home = getenv("HOME"), home.pointee != 0 { return LocalUser(name: name, home: String(cString: home)) }
    return LocalUser(name: name, home: known ? String(cString: entry.pw_dir) : "/")
  }
}

/// A group's name and its migrations.
public struct MigrationGroup: Sendable, Equatable {
  public var name: String
  /// Names of migrations, in the order of the group.
  public var members: [String]
  public var place: SourcePlace
}

/// An inventory file, checked and with its defaults merged: every host and migration holds all of its values.
public struct FleetInventory: Sendable, Equatable {
  /// The path as it was given.
  public var path: String
  /// In the order of the file.
  public var hosts: [Host]
  /// In the order of the file.
  public var migrations: [Migration]
  public var groups: [MigrationGroup]
  /// What works but should not stay: passwords in the file, passfiles that others can read.
  public var warnings: [InventoryWarning]

  /// Reads and checks an inventory file.
  ///
  /// Throws every mistake in it, each with file, line and column.
  public static func load(path: String, user: LocalUser = .current) throws(InputErrors) -> FleetInventory {
    try read(try YAMLDocument.read(path: path), path: path, user: user)
  }

  /// Checks an inventory that is at hand as text. Relative paths in it start at `path`'s directory.
  public static func parse(
    _ text: String, path: String, user: LocalUser = .current
  ) throws(InputErrors) -> FleetInventory {
    try read(try YAMLDocument.parse(text, path: path), path: path, user: user)
  }

  private static func read(_ root: YAMLValue, path: String, user: LocalUser) throws(InputErrors) -> FleetInventory {
    let reader = InventoryReader(path: path, user: user)
    return try reader.inventory(root)
  }

  public func migration(named name: String) -> Migration? { migrations.first { $0.name == name } }
  public func host(named name: String) -> Host? { hosts.first { $0.name == name } }
  public func group(named name: String) -> MigrationGroup? { groups.first { $0.name == name } }
}
