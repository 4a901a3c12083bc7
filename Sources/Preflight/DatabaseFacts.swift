package import Inventory
package import MigrationCore
package import Verification

/// What the source's cluster holds and who is in it.
package struct ClusterFacts: Sendable, Equatable {
  package struct Database: Sendable, Equatable {
    package var name: String
    var takesConnections = true
    var isTemplate = false
    package var encoding = "UTF8"
    /// Whether its order is the C library's (not ICU's, not plain bytes).
    var usesCLibraryLocale = false
  }

  package typealias Tablespace = SourceSize.Tablespace

  package struct Transaction: Sendable, Equatable {
    package var pid: Int
    package var database: String
    package var seconds: Int
    var hasWritten: Bool
    package var query: String
  }

  package struct Prepared: Sendable, Equatable {
    package var gid: String
    package var database: String
    package var seconds: Int
  }

  package struct Subscription: Sendable, Equatable {
    package var name: String
    package var database: String
  }

  /// A replication slot that somebody else has made.
  package struct Slot: Sendable, Equatable {
    package var name: String
    /// Nil where it is physical.
    package var database: String?
  }

  package var databases: [Database] = []
  package var tablespaces: [Tablespace] = []
  package var walBytes: UInt64 = 0
  /// Bytes of WAL a second, since the last checkpoint or on average, whichever is more.
  var walRate: UInt64 = 0
  var slotsInUse = 0
  var walsendersInUse = 0
  /// Sessions that count against max_connections, without our own.
  var clientBackends = 0
  /// application_name of the walsenders that are not ours, each once.
  var standbys: [String] = []
  /// Processes of extensions that are in a database, by what they call themselves.
  var backgroundWorkers: [String] = []
  /// Names of the applications whose sessions use pgconvoy's role, one entry a session.
  var sessionsOfOurRole: [String] = []
  /// Open for more than `Preflight.longTransaction`.
  package var transactions: [Transaction] = []
  package var prepared: [Prepared] = []
  /// Those that are enabled.
  package var subscriptions: [Subscription] = []
  /// Slots that are not ours.
  package var otherSlots: [Slot] = []
  /// What the server said when the output plugin was loaded; nil when it could be.
  var outputPluginError: String?

  /// What a copy has to take in.
  var size: SourceSize { SourceSize(tablespaces: tablespaces, walBytes: walBytes) }

  /// As the migration selects: none that is a template or takes no connections.
  package func selected(by selection: DatabaseSelection) -> [Database] {
    databases.filter { $0.takesConnections && !$0.isTemplate && selection.matches($0.name) }
  }
}

/// What one database holds that needs attention. Names are quoted where SQL needs it.
package struct DatabaseFacts: Sendable, Equatable {
  package struct Table: Sendable, Equatable {
    /// Why a table that looks as if it had an identity has none.
    enum Flaw: String, Sendable {
      case nothing, deferrableKey, indexGone, indexUnfit

      var words: String {
        switch self {
        case .nothing: "REPLICA IDENTITY NOTHING"
        case .deferrableKey: "its primary key is deferrable"
        case .indexGone: "its identity index is gone"
        case .indexUnfit: "its identity index is not valid"
        }
      }
    }

    package var name: String
    /// Updates and deletes since the statistics were reset.
    package var changes: Int
    /// Nil: it has no primary key.
    var flaw: Flaw?

    /// For a list in a finding.
    package var label: String { flaw.map { "\(name) (\($0.words))" } ?? name }
  }

  /// A table with REPLICA IDENTITY FULL that has columns whose types have no equality.
  struct FullTable: Sendable, Equatable {
    var name: String
    /// `doc json, place point`.
    var columns: String
  }

  var tablesWithoutIdentity: [Table] = []
  var fullWithoutEquality: [FullTable] = []
  var unloggedTables: [String] = []
  /// `trigger on table`, `rule on table`: those that fire while changes are applied.
  var alwaysFiring: [String] = []
  /// Columns that hold ids of transactions or snapshots, by their types or their defaults.
  var transactionIDs: [String] = []
  var materializedViews: [String] = []
  var foreignTables: [String] = []
  package var largeObjects = 0
  /// What is computed of rows, and by which functions.
  package var computed = ComputedValues()
  var extensions: [String] = []
  /// Of functions in C that did not come with PostgreSQL itself, as `pg_proc.probin` has them: `$libdir/hstore`.
  package var libraries: [String] = []
}
