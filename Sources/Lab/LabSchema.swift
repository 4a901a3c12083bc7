/// Tables, rows and the application's transactions of one kind of database.
///
/// Written for the lab, in the spirit of a Chef Server's databases: what they have that a migration must carry, not
/// what they are.
struct LabSchema: Sendable {
  /// A relation that only this kind of database has, as `to_regclass` takes it.
  var signature: String
  /// DDL and rows, in order, for the simple protocol: several statements in one string run as one transaction.
  var statements: [String]
  /// What the application does, picked by weight.
  var transactions: [LabTransaction]

  /// The default databases.
  static let chefServer = ["opscode_chef", "bifrost", "oc_id", "bookshelf"]
  static let all = [chef, bifrost, identity, bookshelf, general]

  static func named(_ database: String) -> LabSchema {
    switch database {
    case "opscode_chef": chef
    case "bifrost": bifrost
    case "oc_id": identity
    case "bookshelf": bookshelf
    default: general
    }
  }

  /// What every kind has: the application's own record of its transactions, and a table under a name that must be
  /// quoted in each of its parts.
  static let common = [
    """
    CREATE TABLE public.app_ledger (
      token text PRIMARY KEY,
      written_at timestamptz NOT NULL DEFAULT now());

    CREATE SCHEMA "Node Runs";
    CREATE TABLE "Node Runs"."order" (
      "select" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      "Größe" numeric(12,3) NOT NULL DEFAULT 0,
      "a ""quoted"" name" text,
      "it's" char(5) NOT NULL DEFAULT 'ab');
    INSERT INTO "Node Runs"."order" ("Größe", "a ""quoted"" name")
      SELECT n / 8.0, E'tab\\there, back\\\\slash, it''s "quoted", line\\nend, ' || n FROM generate_series(1, 200) n;
    """
  ]
}

/// One transaction of the application. Its statements run one by one, in a transaction with an insert into
/// `app_ledger`; `$1` is the transaction's token, a text that no other transaction has.
struct LabTransaction: Sendable {
  var weight: Int
  var statements: [String]

  init(_ weight: Int, _ statements: String...) {
    self.weight = weight
    self.statements = statements
  }

  /// What the application does in every kind of database.
  static let common = [
    LabTransaction(
      3,
      """
      INSERT INTO "Node Runs"."order" ("Größe", "a ""quoted"" name")
        VALUES (length($1::text) / 7.0, E'it''s \\\\ "' || $1::text || '"')
      """),
    LabTransaction(
      2,
      """
      UPDATE "Node Runs"."order" SET "Größe" = "Größe" + 1, "it's" = left(md5($1::text), 3)
        WHERE "select" = (SELECT max("select") - (hashtext($1::text) & 63) FROM "Node Runs"."order")
      """),
    // Work that a savepoint takes back must not arrive.
    LabTransaction(
      2,
      "SAVEPOINT attempt",
      """
      INSERT INTO "Node Runs"."order" ("Größe", "a ""quoted"" name") VALUES (-1, 'taken back ' || $1::text)
      """,
      "ROLLBACK TO SAVEPOINT attempt",
      """
      DELETE FROM "Node Runs"."order"
        WHERE "select" = (SELECT min("select") + (hashtext($1::text) & 15) FROM "Node Runs"."order")
      """),
  ]

  /// A public key's text: 450 bytes, with line ends.
  static func publicKey(of value: String) -> String {
    """
    (E'-----BEGIN PUBLIC KEY-----\\n' || (SELECT string_agg(substr(encode(sha512(((\(value))::text || i)::bytea), 'base64'), 1, 64),
      E'\\n' ORDER BY i) FROM generate_series(1, 6) i) || E'\\n-----END PUBLIC KEY-----\\n\\n')
    """
  }
}
