/// Every key that an inventory may hold; docs/reference/inventory.md describes each of them.
public enum InventoryKeys {
  public static let root = ["defaults", "hosts", "migrations", "groups"]
  public static let host = ["address", "local", "transport", "ssh", "postgres", "service_directory"]
  public static let ssh = [
    "user", "port", "identity_file", "known_hosts", "agent", "identities_only", "connect_timeout",
    "passphrase_command", "config", "proxy_jump",
  ]
  public static let postgres = [
    "address", "via", "replication_address", "port", "user", "database", "os_user", "data_directory", "bin_directory",
    "config_file",
    "socket_directory", "log_file", "service", "passfile", "password_command", "password_env", "password", "sslmode",
    "connect_timeout",
  ]
  public static let migration =
    ["source", "target", "databases", "except"] + sharedMigration
  /// The keys of a migration that `defaults` may hold too.
  static let sharedMigration = [
    "services", "version_check", "plugin", "ddl", "old_data", "hand_off", "cutover", "base_backup", "allow_restart",
    "sync",
  ]
  public static let service = ["name", "manager", "on", "directory", "start", "stop", "status"]
  /// Of `postgres.service`.
  public static let postgresService = service.filter { $0 != "on" }
  public static let handOff = ["lock_timeout", "deadline"]
  public static let cutover = [
    "max_lag_bytes", "max_lag_seconds", "drain_deadline", "verify", "verify_budget", "copy_unlogged",
  ]
  public static let baseBackup = ["max_rate", "checkpoint", "compress", "tablespace_mapping", "wal_directory"]
  public static let sync = ["on", "manager", "directory"]
  public static let defaults = ["ssh", "postgres", "service_directory", "except"] + sharedMigration

  /// Every mapping with its keys, by the dotted name that the reference uses as a heading.
  public static let all: [(section: String, keys: [String])] = [
    ("file", root), ("defaults", defaults), ("host", host), ("ssh", ssh), ("postgres", postgres),
    ("postgres.service", postgresService),
    ("migration", migration), ("services", service), ("hand_off", handOff), ("cutover", cutover),
    ("base_backup", baseBackup), ("sync", sync),
  ]
}
