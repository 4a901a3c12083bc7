extension LabSchema {
  /// Who may do what: actors, groups, objects, and their access lists.
  static let bifrost = LabSchema(
    signature: "public.object_acl_actor",
    statements: [bifrostTables, bifrostRows],
    transactions: bifrostTransactions)

  private static let bifrostTables = """
    CREATE TYPE auth_permission AS ENUM ('create', 'read', 'update', 'delete', 'grant');

    CREATE TABLE auth_actor (id bigserial PRIMARY KEY, authz_id char(32) NOT NULL UNIQUE);
    CREATE TABLE auth_group (id bigserial PRIMARY KEY, authz_id char(32) NOT NULL UNIQUE);
    CREATE TABLE auth_object (
      id bigserial PRIMARY KEY,
      authz_id char(32) NOT NULL UNIQUE,
      owner bigint NOT NULL REFERENCES auth_actor);

    CREATE TABLE group_actor_relations (
      parent bigint NOT NULL REFERENCES auth_group ON DELETE CASCADE,
      child bigint NOT NULL REFERENCES auth_actor ON DELETE CASCADE,
      PRIMARY KEY (parent, child));
    CREATE TABLE group_group_relations (
      parent bigint NOT NULL REFERENCES auth_group ON DELETE CASCADE,
      child bigint NOT NULL REFERENCES auth_group ON DELETE CASCADE,
      PRIMARY KEY (parent, child),
      CONSTRAINT not_its_own_parent CHECK (parent <> child));

    CREATE TABLE object_acl_actor (
      target bigint NOT NULL REFERENCES auth_object ON DELETE CASCADE,
      authorizee bigint NOT NULL REFERENCES auth_actor ON DELETE CASCADE,
      permission auth_permission NOT NULL,
      PRIMARY KEY (target, authorizee, permission));
    CREATE TABLE object_acl_group (
      target bigint NOT NULL REFERENCES auth_object ON DELETE CASCADE,
      authorizee bigint NOT NULL REFERENCES auth_group ON DELETE CASCADE,
      permission auth_permission NOT NULL,
      PRIMARY KEY (target, authorizee, permission));

    -- Whoever makes an object may do everything with it.
    CREATE FUNCTION grant_to_owner() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO public.object_acl_actor
        SELECT NEW.id, NEW.owner, unnest(enum_range(NULL::public.auth_permission));
      RETURN NULL;
    END $$;
    CREATE TRIGGER auth_object_grant AFTER INSERT ON auth_object FOR EACH ROW EXECUTE FUNCTION grant_to_owner();

    CREATE VIEW readable AS
      SELECT target, authorizee FROM object_acl_actor WHERE permission = 'read';
    """

  private static let bifrostRows = """
    INSERT INTO auth_actor (authz_id) SELECT md5('actor' || n) FROM generate_series(1, 1000) n;
    INSERT INTO auth_group (authz_id) SELECT md5('group' || n) FROM generate_series(1, 100) n;
    INSERT INTO auth_object (authz_id, owner) SELECT md5('object' || n), 1 + n % 1000 FROM generate_series(1, 1000) n;
    INSERT INTO group_actor_relations SELECT 1 + n % 100, n FROM generate_series(1, 1000) n;
    INSERT INTO group_group_relations SELECT n, n + 1 FROM generate_series(1, 99) n;
    INSERT INTO object_acl_group SELECT n, 1 + n % 100, 'read' FROM generate_series(1, 1000) n;
    """

  private static func any(_ table: String, _ column: String = "id") -> String {
    "(SELECT \(column) FROM \(table) WHERE authz_id >= md5($1::text)::char(32) ORDER BY authz_id LIMIT 1)"
  }

  private static let bifrostTransactions = [
    LabTransaction(
      6,
      "INSERT INTO auth_actor (authz_id) VALUES (md5('actor' || $1::text))",
      """
      INSERT INTO group_actor_relations
        SELECT g.id, currval('auth_actor_id_seq') FROM auth_group g ORDER BY md5(authz_id || $1::text) LIMIT 2
      """),
    LabTransaction(
      6,
      """
      INSERT INTO auth_object (authz_id, owner)
        SELECT md5('object' || $1::text), id FROM auth_actor WHERE id = \(any("auth_actor"))
      """),
    LabTransaction(3, "DELETE FROM auth_object WHERE id > 1000 AND id = \(any("auth_object"))"),
    LabTransaction(
      3,
      """
      DELETE FROM object_acl_actor WHERE permission IN ('delete', 'grant') AND target = \(any("auth_object"))
      """),
    LabTransaction(
      4,
      """
      INSERT INTO object_acl_actor
        SELECT o.id, a.id, 'read' FROM auth_object o, auth_actor a
          WHERE o.id = \(any("auth_object")) AND a.id = \(any("auth_actor"))
        ON CONFLICT DO NOTHING
      """),
    // The key itself changes.
    LabTransaction(
      2,
      """
      UPDATE object_acl_group g SET permission = 'update'
        WHERE target = \(any("auth_object")) AND permission = 'read'
          AND NOT EXISTS (SELECT FROM object_acl_group o WHERE (o.target, o.authorizee) = (g.target, g.authorizee)
            AND o.permission = 'update')
      """),
  ]
}
