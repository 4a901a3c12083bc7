import Inventory
package import MigrationCore
import PostgresClient

/// What the servers as a whole do not have in common: roles with their attributes and passwords, memberships, what
/// ALTER ROLE and ALTER DATABASE have set, and what the servers themselves give to every session of the settings that
/// change results. None of it travels in a stream.
package enum ServerDrift {
  /// Passwords are compared by a digest and never shown. The limit of a database that a fence has closed is the one that it
  /// will have again.
  package static let listing = """
    SELECT 'role' AS kind, pg_catalog.quote_ident(rolname) AS name,
           pg_catalog.concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
             rolbypassrls, rolconnlimit, rolvaliduntil, pg_catalog.md5(rolpassword)) AS definition
      FROM pg_catalog.pg_authid WHERE oid >= 16384 OR rolname = 'postgres'
    UNION ALL
    SELECT 'membership', m.member::pg_catalog.regrole::text || ' in ' || m.roleid::pg_catalog.regrole::text,
           pg_catalog.string_agg(m.admin_option::text, ',' ORDER BY m.admin_option)
      FROM pg_catalog.pg_auth_members m WHERE m.member >= 16384 GROUP BY m.member, m.roleid
    UNION ALL
    SELECT 'settings', pg_catalog.concat_ws(' ', 'of',
             CASE WHEN setrole <> 0 THEN 'role ' || setrole::pg_catalog.regrole::text END,
             'database ' || (SELECT pg_catalog.quote_ident(datname) FROM pg_catalog.pg_database
                              WHERE pg_database.oid = setdatabase)),
           (SELECT pg_catalog.string_agg(item, ', ' ORDER BY item COLLATE "C") FROM pg_catalog.unnest(setconfig) AS item
             WHERE NOT pg_catalog.starts_with(item, '\(ConnectionLimits.setting)='))
      FROM pg_catalog.pg_db_role_setting
     WHERE EXISTS (SELECT FROM pg_catalog.unnest(setconfig) AS item
                    WHERE NOT pg_catalog.starts_with(item, '\(ConnectionLimits.setting)='))
    UNION ALL
    SELECT 'database', pg_catalog.quote_ident(datname),
           pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(datdba), coalesce(
               (SELECT pg_catalog.substr(item, \(ConnectionLimits.setting.utf8.count + 2))
                  FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS item
                 WHERE s.setdatabase = pg_database.oid AND s.setrole = 0
                   AND pg_catalog.starts_with(item, '\(ConnectionLimits.setting)=')), datconnlimit::text), datallowconn,
             (SELECT pg_catalog.string_agg(item::text, ',' ORDER BY item::text COLLATE "C")
                FROM pg_catalog.unnest(datacl) AS item))
      FROM pg_catalog.pg_database WHERE datname <> 'template0'
    """

  package static func between(_ context: MigrationContext) async throws -> [String] {
    async let here = read(context.session(.source))
    async let there = read(context.session(.target))
    async let ours = context.serverSettings(.source)
    async let theirs = context.serverSettings(.target)
    let settings = try await ours.differences(from: try await theirs).map { "setting \($0) of the server" }
    return SchemaDrift(source: try await here, target: try await there).differences + settings
  }

  private static func read(_ session: PostgresSession) async throws -> [SchemaObject] {
    try await session.query(listing, within: .seconds(60)).rows.map { row in
      SchemaObject(kind: row.string(0), name: row.string(1), definition: row.string(2))
    }
  }
}
