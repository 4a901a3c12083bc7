extension LabSchema {
  /// Organizations, users, clients and their keys, nodes with wide attributes, an audit log by month.
  static let chef = LabSchema(
    signature: "public.org_user_associations",
    statements: [chefTables, chefTriggers, chefRows],
    transactions: chefTransactions)

  private static let chefTables = """
    CREATE TYPE password_hash_type AS ENUM ('SHA1-bcrypt', 'bcrypt', 'erlang-bcrypt-0', 'sha1');

    CREATE TABLE orgs (
      id char(32) PRIMARY KEY,
      authz_id char(32) NOT NULL UNIQUE,
      name text NOT NULL UNIQUE,
      full_name text NOT NULL,
      assigned_at timestamp NOT NULL DEFAULT 'infinity',
      created_at timestamp NOT NULL DEFAULT now());

    CREATE TABLE users (
      id char(32) PRIMARY KEY,
      authz_id char(32) NOT NULL UNIQUE,
      username text NOT NULL UNIQUE,
      email text UNIQUE,
      email_domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED,
      pubkey_version integer NOT NULL DEFAULT 0,
      public_key text,
      serialized_object text,
      last_updated_by char(32) NOT NULL,
      created_at timestamp NOT NULL DEFAULT now(),
      updated_at timestamp NOT NULL DEFAULT now(),
      external_authentication_uid text,
      recovery_authentication_enabled boolean,
      admin boolean NOT NULL DEFAULT false,
      hashed_password text,
      salt text,
      hash_type password_hash_type);

    CREATE TABLE clients (
      id char(32) PRIMARY KEY,
      org_id char(32) NOT NULL REFERENCES orgs ON DELETE CASCADE,
      authz_id char(32) NOT NULL UNIQUE,
      name text NOT NULL,
      public_key text,
      validator boolean NOT NULL,
      admin boolean NOT NULL,
      pubkey_version smallint NOT NULL DEFAULT 0,
      last_updated_by char(32) NOT NULL,
      created_at timestamp NOT NULL DEFAULT now(),
      updated_at timestamp NOT NULL DEFAULT now(),
      UNIQUE (org_id, name));

    CREATE TABLE keys (
      id char(32) NOT NULL,
      key_name text NOT NULL,
      public_key text NOT NULL,
      key_version integer NOT NULL,
      created_at timestamp NOT NULL DEFAULT now(),
      expires_at timestamp NOT NULL DEFAULT 'infinity',
      last_updated_by char(32) NOT NULL DEFAULT '',
      updated_at timestamp NOT NULL DEFAULT now(),
      PRIMARY KEY (id, key_name));

    CREATE TABLE org_user_associations (
      org_id char(32) NOT NULL REFERENCES orgs ON DELETE CASCADE,
      user_id char(32) NOT NULL REFERENCES users ON DELETE CASCADE,
      last_updated_by char(32) NOT NULL,
      created_at timestamp NOT NULL DEFAULT now(),
      PRIMARY KEY (org_id, user_id));

    -- serialized_object is stored out of line: an update of another column leaves it out of the stream.
    CREATE TABLE nodes (
      id char(32) PRIMARY KEY,
      org_id char(32) NOT NULL REFERENCES orgs ON DELETE CASCADE,
      name text NOT NULL,
      environment text NOT NULL DEFAULT '_default',
      serialized_object text NOT NULL,
      run_count integer NOT NULL DEFAULT 0,
      updated_at timestamp NOT NULL DEFAULT now(),
      UNIQUE (org_id, name));
    ALTER TABLE nodes ALTER COLUMN serialized_object SET STORAGE EXTERNAL;

    CREATE TABLE cookbook_versions (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      org_id char(32) NOT NULL REFERENCES orgs ON DELETE CASCADE,
      name text NOT NULL,
      major bigint NOT NULL, minor bigint NOT NULL, patch bigint NOT NULL,
      frozen boolean NOT NULL DEFAULT false,
      meta_attributes bytea NOT NULL,
      UNIQUE (org_id, name, major, minor, patch));

    -- Without a primary key: its replica identity is a unique index.
    CREATE TABLE checksums (
      org_id char(32) NOT NULL,
      checksum char(32) NOT NULL,
      size bigint NOT NULL,
      CONSTRAINT checksums_org_id_checksum_key UNIQUE (org_id, checksum));
    ALTER TABLE checksums REPLICA IDENTITY USING INDEX checksums_org_id_checksum_key;

    -- Without any key: the whole row is its identity.
    CREATE TABLE run_lists (
      node_name text NOT NULL,
      run_list json NOT NULL,
      position double precision);
    ALTER TABLE run_lists REPLICA IDENTITY FULL;

    CREATE SEQUENCE reporting_run_seq START 1000 INCREMENT 3;

    CREATE TABLE audit_log (
      id bigserial,
      happened_at timestamp NOT NULL DEFAULT now(),
      actor text NOT NULL,
      action text NOT NULL,
      run bigint,
      details jsonb NOT NULL DEFAULT '{}',
      PRIMARY KEY (id, happened_at)) PARTITION BY RANGE (happened_at);
    CREATE TABLE audit_log_default PARTITION OF audit_log DEFAULT;
    DO $$
    DECLARE month date := date_trunc('month', now()) - interval '2 months';
    BEGIN
      FOR n IN 0..5 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF audit_log FOR VALUES FROM (%L) TO (%L)',
          'audit_log_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
        month := month + interval '1 month';
      END LOOP;
    END $$;

    CREATE VIEW active_users AS SELECT username, email, email_domain FROM users WHERE NOT admin;
    CREATE MATERIALIZED VIEW org_user_counts AS
      SELECT orgs.id, orgs.name, count(user_id) AS users
        FROM orgs LEFT JOIN org_user_associations ON org_id = orgs.id GROUP BY orgs.id, orgs.name;
    CREATE UNIQUE INDEX org_user_counts_id ON org_user_counts (id);
    """

  private static let chefTriggers = """
    CREATE FUNCTION add_default_key() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO public.keys (id, key_name, public_key, key_version, last_updated_by)
        VALUES (NEW.id, 'default', NEW.public_key, NEW.pubkey_version, NEW.last_updated_by);
      RETURN NULL;
    END $$;
    CREATE FUNCTION change_default_key() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE public.keys SET public_key = NEW.public_key, key_version = NEW.pubkey_version, updated_at = now()
        WHERE id = NEW.id AND key_name = 'default';
      RETURN NULL;
    END $$;
    CREATE FUNCTION remove_keys() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      DELETE FROM public.keys WHERE id = OLD.id;
      RETURN NULL;
    END $$;
    CREATE TRIGGER users_add_key AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION add_default_key();
    CREATE TRIGGER users_change_key AFTER UPDATE OF public_key ON users FOR EACH ROW EXECUTE FUNCTION change_default_key();
    CREATE TRIGGER users_remove_keys AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION remove_keys();
    CREATE TRIGGER clients_add_key AFTER INSERT ON clients FOR EACH ROW EXECUTE FUNCTION add_default_key();
    CREATE TRIGGER clients_remove_keys AFTER DELETE ON clients FOR EACH ROW EXECUTE FUNCTION remove_keys();
    """

  private static let chefRows = """
    INSERT INTO orgs (id, authz_id, name, full_name)
      SELECT md5('org' || n), md5('org authz' || n), 'org-' || n, 'Organization No. ' || n FROM generate_series(1, 20) n;
    INSERT INTO users (id, authz_id, username, email, public_key, serialized_object, last_updated_by, hashed_password,
        salt, hash_type)
      SELECT md5('user' || n), md5('user authz' || n), 'user-' || n, 'user-' || n || '@example-' || n % 7 || '.org',
        \(LabTransaction.publicKey(of: "n")), E'{\\"display_name\\":\\"User \\\\\\"No.\\\\\\" ' || n || E'\\",\\"home\\":\\"C:\\\\\\\\users\\"}',
        repeat('f', 32), '$2a$12$' || md5('p' || n), '$2a$12$' || left(md5('s' || n), 22),
        (enum_range(NULL::password_hash_type))[1 + n % 4]
      FROM generate_series(1, 1500) n;
    INSERT INTO clients (id, org_id, authz_id, name, public_key, validator, admin, last_updated_by)
      SELECT md5('client' || n), md5('org' || 1 + n % 20), md5('client authz' || n), 'client-' || n,
        \(LabTransaction.publicKey(of: "-n")), n % 50 = 0, false, repeat('f', 32)
      FROM generate_series(1, 500) n;
    INSERT INTO org_user_associations (org_id, user_id, last_updated_by)
      SELECT md5('org' || 1 + n % 20), md5('user' || n), '' FROM generate_series(1, 1500) n;
    INSERT INTO nodes (id, org_id, name, serialized_object)
      SELECT md5('node' || n), md5('org' || 1 + n % 20), 'node-' || n,
        '{"platform":"debian","automatic":"' || repeat(md5('node' || n), 120) || '"}'
      FROM generate_series(1, 400) n;
    INSERT INTO cookbook_versions (org_id, name, major, minor, patch, meta_attributes)
      SELECT md5('org' || 1 + n % 20), 'cookbook-' || n / 10, 1, n % 10, 0, sha512(n::text::bytea)
      FROM generate_series(1, 600) n;
    INSERT INTO checksums SELECT md5('org' || 1 + n % 20), md5('file' || n), n * 37 FROM generate_series(1, 1500) n;
    INSERT INTO run_lists
      SELECT 'node-' || 1 + n % 400, json_build_array('recipe[base]', 'role[r' || n % 9 || ']'), n / 3.0
      FROM generate_series(1, 300) n;
    INSERT INTO audit_log (happened_at, actor, action, details)
      SELECT now() - n * interval '30 minutes', 'user-' || n % 1500, (ARRAY['create', 'update', 'delete'])[1 + n % 3],
        jsonb_build_object('n', n, 'path', E'\\\\\\\\server\\\\share')
      FROM generate_series(1, 3000) n;
    REFRESH MATERIALIZED VIEW org_user_counts;
    """

  /// The user at or after a random place in the key's order.
  private static let anyUser = "(SELECT id FROM users WHERE id >= md5($1::text)::char(32) ORDER BY id LIMIT 1)"
  private static let anyOrg = "(SELECT id FROM orgs ORDER BY md5(id || $1::text) LIMIT 1)"

  private static let chefTransactions = [
    LabTransaction(
      6,
      """
      INSERT INTO users (id, authz_id, username, email, public_key, serialized_object, last_updated_by, hash_type)
        VALUES (md5('u' || $1::text), md5('a' || $1::text), 'app-' || $1::text, 'app-' || $1::text || '@example.net',
          \(LabTransaction.publicKey(of: "$1::text")), E'{\\"name\\":\\"\\\\\\\\' || $1::text || E'\\"}', '', 'bcrypt')
      """,
      """
      INSERT INTO org_user_associations (org_id, user_id, last_updated_by)
        VALUES (\(anyOrg), md5('u' || $1::text), '')
      """),
    LabTransaction(
      6, "UPDATE users SET external_authentication_uid = $1::text, updated_at = now() WHERE id = \(anyUser)"),
    LabTransaction(
      2,
      """
      UPDATE users SET public_key = \(LabTransaction.publicKey(of: "$1::text")), pubkey_version = pubkey_version + 1
        WHERE id = \(anyUser)
      """),
    LabTransaction(3, "DELETE FROM users WHERE username LIKE 'app-%' AND id = \(anyUser)"),
    // serialized_object stays as it is, out of line.
    LabTransaction(
      5,
      """
      UPDATE nodes SET run_count = run_count + 1, updated_at = now()
        WHERE id = (SELECT id FROM nodes WHERE id >= md5($1::text)::char(32) ORDER BY id LIMIT 1)
      """),
    LabTransaction(
      1,
      """
      UPDATE nodes SET serialized_object = '{"automatic":"' || repeat(md5($1::text), 150) || '"}'
        WHERE id = (SELECT id FROM nodes WHERE id >= md5($1::text)::char(32) ORDER BY id LIMIT 1)
      """),
    LabTransaction(
      6,
      """
      INSERT INTO audit_log (actor, action, run, details)
        VALUES ($1::text, 'run', nextval('reporting_run_seq'), jsonb_build_object('token', $1::text))
      """,
      """
      INSERT INTO audit_log (happened_at, actor, action)
        SELECT now() - n * interval '17 days', $1::text, 'late' FROM generate_series(1, 3) n
      """),
    LabTransaction(
      2,
      """
      INSERT INTO checksums VALUES (\(anyOrg), md5($1::text), length($1::text))
      """,
      """
      UPDATE checksums SET size = size + 1
        WHERE (org_id, checksum) = (SELECT org_id, checksum FROM checksums
          WHERE org_id >= md5($1::text)::char(32) ORDER BY org_id, checksum LIMIT 1)
      """),
    LabTransaction(
      2,
      """
      INSERT INTO run_lists VALUES ('node-' || $1::text, json_build_array('recipe[' || $1::text || ']'), random())
      """,
      "UPDATE run_lists SET position = NULL WHERE ctid = (SELECT min(ctid) FROM run_lists)",
      "DELETE FROM run_lists WHERE ctid = (SELECT max(ctid) FROM run_lists WHERE position IS NULL)"),
    LabTransaction(
      2,
      """
      INSERT INTO cookbook_versions (org_id, name, major, minor, patch, meta_attributes)
        VALUES (\(anyOrg), 'cookbook ' || $1::text, 0, 1, 0, sha256($1::text::bytea))
      """),
    // Larger than the others: a few hundred rows at once.
    LabTransaction(
      1,
      """
      INSERT INTO checksums
        SELECT md5('many'), md5($1::text || n), n FROM generate_series(1, 300) n
      """,
      "DELETE FROM checksums WHERE org_id = md5('many') AND size > 20"),
  ]
}
