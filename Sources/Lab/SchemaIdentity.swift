extension LabSchema {
  /// An OAuth provider: applications, grants, tokens, and an access log partitioned by id. Many column types.
  static let identity = LabSchema(
    signature: "public.oauth_access_tokens",
    statements: [identityTables, identityRows],
    transactions: identityTransactions)

  private static let identityTables = """
    CREATE TABLE schema_migrations (version varchar(255) PRIMARY KEY);

    CREATE TABLE users (
      id bigserial PRIMARY KEY,
      provider varchar(40) NOT NULL DEFAULT 'chef',
      uid text NOT NULL UNIQUE,
      name text,
      last_seen_from inet,
      preferences jsonb NOT NULL DEFAULT '{}',
      tags text[] NOT NULL DEFAULT '{}');

    CREATE TABLE oauth_applications (
      id bigserial PRIMARY KEY,
      name varchar(80) NOT NULL,
      uid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
      secret bytea NOT NULL,
      redirect_uri text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now());

    CREATE TABLE oauth_access_grants (
      id bigserial PRIMARY KEY,
      user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
      application_id bigint NOT NULL REFERENCES oauth_applications,
      token text NOT NULL UNIQUE,
      expires_in interval NOT NULL DEFAULT '10 minutes',
      revoked_at timestamptz);

    CREATE TABLE oauth_access_tokens (
      id bigserial PRIMARY KEY,
      user_id bigint REFERENCES users ON DELETE CASCADE,
      application_id bigint NOT NULL REFERENCES oauth_applications,
      token text NOT NULL UNIQUE,
      scopes text NOT NULL DEFAULT '',
      cost numeric(20,6),
      weight real,
      valid_on daterange NOT NULL DEFAULT daterange(current_date, current_date + 30),
      expires_at timestamptz NOT NULL DEFAULT 'infinity',
      created_at timestamptz NOT NULL DEFAULT now());

    CREATE SEQUENCE access_log_id_seq;
    CREATE TABLE access_log (
      id bigint NOT NULL DEFAULT nextval('access_log_id_seq') PRIMARY KEY,
      application_id bigint NOT NULL,
      at timestamptz NOT NULL DEFAULT clock_timestamp(),
      from_address inet,
      agent text) PARTITION BY RANGE (id);
    CREATE TABLE access_log_1 PARTITION OF access_log FOR VALUES FROM (1) TO (1001);
    CREATE TABLE access_log_2 PARTITION OF access_log FOR VALUES FROM (1001) TO (2001);
    CREATE TABLE access_log_3 PARTITION OF access_log FOR VALUES FROM (2001) TO (3001);
    CREATE TABLE access_log_rest PARTITION OF access_log DEFAULT;
    """

  private static let identityRows = """
    INSERT INTO schema_migrations SELECT 20240101000000 + n FROM generate_series(1, 12) n;
    INSERT INTO users (uid, name, last_seen_from, preferences, tags)
      SELECT 'user-' || n, 'Üsér "' || n || '"', '10.0.0.0'::inet + n,
        jsonb_build_object('theme', n % 3, 'path', E'C:\\\\new'), ARRAY['a b', 'c,"d"', NULL, n::text]
      FROM generate_series(1, 1500) n;
    INSERT INTO oauth_applications (name, secret, redirect_uri)
      SELECT 'application ' || n, sha256(n::text::bytea), 'https://app-' || n || '.example.org/?a=1&b=''2'''
      FROM generate_series(1, 25) n;
    INSERT INTO oauth_access_grants (user_id, application_id, token)
      SELECT n, 1 + n % 25, md5('grant' || n) FROM generate_series(1, 1000) n;
    INSERT INTO oauth_access_tokens (user_id, application_id, token, cost, weight)
      SELECT 1 + n % 1500, 1 + n % 25, md5('token' || n), n / 7.0, CASE n % 20 WHEN 0 THEN 'NaN' ELSE n / 3.0 END
      FROM generate_series(1, 1500) n;
    INSERT INTO access_log (application_id, from_address, agent)
      SELECT 1 + n % 25, '192.168.0.0'::inet + n % 65536, 'agent/' || n % 9 FROM generate_series(1, 1800) n;
    """

  private static let anyUser = """
    (SELECT id FROM users WHERE id >= 1 + (hashtext($1::text) & 1023) ORDER BY id LIMIT 1)
    """

  private static let identityTransactions = [
    LabTransaction(
      6,
      """
      INSERT INTO oauth_access_tokens (user_id, application_id, token, cost, weight)
        VALUES (\(anyUser), 1 + (hashtext($1::text) & 15), $1::text, random() * 1000, random())
      """,
      """
      INSERT INTO access_log (application_id, from_address, agent)
        VALUES (1 + (hashtext($1::text) & 15), '10.9.8.7', 'writer ' || $1::text)
      """),
    LabTransaction(
      4,
      """
      UPDATE users SET preferences = preferences || jsonb_build_object('last', $1::text), tags = tags[1:4] || $1::text
        WHERE id = \(anyUser)
      """),
    LabTransaction(
      3,
      """
      UPDATE oauth_access_grants SET revoked_at = now()
        WHERE id = (SELECT id FROM oauth_access_grants WHERE id >= (hashtext($1::text) & 511) ORDER BY id LIMIT 1)
      """),
    LabTransaction(
      3,
      """
      DELETE FROM oauth_access_tokens
        WHERE id = (SELECT id FROM oauth_access_tokens WHERE id >= 1500 ORDER BY id LIMIT 1)
      """),
    LabTransaction(
      3,
      """
      INSERT INTO users (uid, name, last_seen_from) VALUES ($1::text, E'new \\\\ ' || $1::text, '::1')
      """),
    LabTransaction(
      2,
      """
      INSERT INTO access_log (application_id, agent)
        SELECT 1 + n % 25, 'burst ' || $1::text FROM generate_series(1, 20) n
      """),
  ]
}
