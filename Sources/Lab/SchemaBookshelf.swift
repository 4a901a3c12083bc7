extension LabSchema {
  /// Files in chunks of bytes, known by their hashes.
  static let bookshelf = LabSchema(
    signature: "public.file_chunks",
    statements: [bookshelfTables, bookshelfRows],
    transactions: bookshelfTransactions)

  private static let bookshelfTables = """
    CREATE TABLE buckets (
      bucket_id bigserial PRIMARY KEY,
      bucket_name text NOT NULL UNIQUE,
      created_at timestamptz NOT NULL DEFAULT now());

    CREATE TABLE file_data (
      data_id bigserial PRIMARY KEY,
      complete boolean NOT NULL DEFAULT false,
      data_size bigint NOT NULL DEFAULT 0,
      chunk_count integer NOT NULL DEFAULT 0,
      hash_md5 bytea,
      hash_sha256 bytea,
      hash_sha512 bytea,
      created_at timestamptz NOT NULL DEFAULT now());

    CREATE TABLE file_names (
      file_id bigserial PRIMARY KEY,
      bucket_id bigint NOT NULL REFERENCES buckets,
      data_id bigint REFERENCES file_data ON DELETE SET NULL,
      name text NOT NULL,
      UNIQUE (bucket_id, name));

    CREATE TABLE file_chunks (
      data_id bigint NOT NULL REFERENCES file_data ON DELETE CASCADE,
      sequence integer NOT NULL,
      data bytea NOT NULL,
      PRIMARY KEY (data_id, sequence));
    ALTER TABLE file_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

    CREATE VIEW files AS
      SELECT bucket_name, name, data_size, complete
        FROM file_names JOIN buckets USING (bucket_id) LEFT JOIN file_data USING (data_id);
    """

  private static let bookshelfRows = """
    INSERT INTO buckets (bucket_name) SELECT 'bookshelf ' || n FROM generate_series(1, 8) n;
    INSERT INTO file_data (complete, data_size, chunk_count, hash_md5, hash_sha256, hash_sha512)
      SELECT true, 4096, 2, decode(md5(n::text), 'hex'), sha256(n::text::bytea), sha512(n::text::bytea)
      FROM generate_series(1, 800) n;
    INSERT INTO file_names (bucket_id, data_id, name)
      SELECT 1 + n % 8, n, 'organization-' || md5(n::text) || '/checksum-' || n FROM generate_series(1, 800) n;
    INSERT INTO file_chunks
      SELECT n, s, decode(repeat(md5(n || '/' || s), 128), 'hex')
      FROM generate_series(1, 800) n, generate_series(0, 1) s;
    """

  private static let anyFile = """
    (SELECT data_id FROM file_data WHERE data_id >= 1 + (hashtext($1::text) & 511) ORDER BY data_id LIMIT 1)
    """

  private static let bookshelfTransactions = [
    LabTransaction(
      6,
      "INSERT INTO file_data (hash_md5) VALUES (decode(md5($1::text), 'hex'))",
      """
      INSERT INTO file_names (bucket_id, data_id, name)
        VALUES (1 + (hashtext($1::text) & 7), currval('file_data_data_id_seq'), 'app/' || $1::text)
      """,
      """
      INSERT INTO file_chunks
        SELECT currval('file_data_data_id_seq'), n, decode(repeat(md5($1::text || n), 64 * (n + 1)), 'hex')
        FROM generate_series(0, 3) n
      """,
      """
      UPDATE file_data SET complete = true, chunk_count = 4, data_size = 10240, hash_sha256 = sha256($1::text::bytea)
        WHERE data_id = currval('file_data_data_id_seq')
      """),
    LabTransaction(4, "UPDATE file_data SET hash_sha512 = sha512($1::text::bytea) WHERE data_id = \(anyFile)"),
    LabTransaction(
      3,
      """
      DELETE FROM file_data
        WHERE data_id = (SELECT data_id FROM file_data WHERE data_id > 800 ORDER BY data_id LIMIT 1)
      """),
    // The key changes, the bytes stay as they are, out of line.
    LabTransaction(
      2,
      """
      UPDATE file_chunks SET sequence = sequence + 100
        WHERE data_id = \(anyFile) AND sequence < 100
      """),
    LabTransaction(
      1,
      """
      UPDATE file_names SET name = 'renamed/' || $1::text
        WHERE file_id = (SELECT min(file_id) + (hashtext($1::text) & 255) FROM file_names)
      """),
  ]
}
