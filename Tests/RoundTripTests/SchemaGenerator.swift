import ReplicationModel
import TestSupport

/// A column as the generator of transactions needs to know it.
struct Column {
  enum Identity { case no, always, byDefault }

  var name: String
  var type: ValueType
  var isNullable = true
  var generatedAs: String?
  var identity = Identity.no

  var quoted: String { quotedIdentifier(name) }
  /// Whether an INSERT or UPDATE may name it.
  var isPlain: Bool { generatedAs == nil && identity != .always }
}

/// A table of a generated schema.
struct Table {
  var schema: String
  var name: String
  var columns: [Column]
  /// Columns of the primary key, in its order.
  var key: [Int] = []
  /// Whether updates and deletes name their rows in the stream.
  var hasIdentity = true
  /// Statements take this table alone, not its children.
  var isAlone = true
  /// Of the columns, a unique one of integers, whose values can be swapped.
  var unique: Int?
  /// Truncated by itself only with CASCADE.
  var isReferenced = false

  var quoted: String { quotedIdentifier(schema) + "." + quotedIdentifier(name) }
  /// As FROM, UPDATE and DELETE name it.
  var only: String { (isAlone ? "ONLY " : "") + quoted }
  var plain: [Int] { columns.indices.filter { columns[$0].isPlain } }
  /// Every column but the generated ones, to insert a row as it was.
  var stored: [Int] { columns.indices.filter { columns[$0].generatedAs == nil } }

  func list(_ indices: [Int]) -> String { indices.map { columns[$0].quoted }.joined(separator: ", ") }
}

/// What every generated database has: types of its own, extensions, a collation, in a schema with an awkward name.
enum CommonObjects {
  static let schema = "Typés [x]"

  static let statements: [String] = [
    "CREATE SCHEMA \(q)",
    "CREATE EXTENSION hstore SCHEMA \(q)", "CREATE EXTENSION citext SCHEMA \(q)",
    "CREATE EXTENSION ltree SCHEMA \(q)",
    "CREATE TYPE \(q).\"Enum ]: 'x'\" AS ENUM ('a', 'B b', 'it''s', '🐘', ']:', 'back\\slash', '\"')",
    "CREATE TYPE \(q).pair AS (a text, \"B b\" numeric, c boolean)",
    "CREATE DOMAIN \(q).dtext AS text CHECK (length(VALUE) < 5000)", "CREATE DOMAIN \(q).dint AS integer",
    "CREATE DOMAIN \(q).dbool AS boolean", "CREATE DOMAIN \(q).dnum AS numeric(6,2)",
    "CREATE DOMAIN \(q).darray AS integer[]", "CREATE DOMAIN \(q).dbox AS box",
    "CREATE DOMAIN \(q).dchar AS character(5)",
    "CREATE DOMAIN \(q).dpair AS \(q).pair", "CREATE DOMAIN \(q).ddint AS \(q).dint CHECK (VALUE <> 666)",
    "CREATE TYPE \(q).floats AS RANGE (subtype = float8)",
    "CREATE COLLATION \(q).loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
  ]

  private static var q: String { quotedIdentifier(schema) }

  private static func own(
    _ name: String, key: Bool = false, delimiter: Character = ",", of values: [String]
  ) -> ValueType {
    ValueType("\(q).\(quotedIdentifier(name))", key: key, delimiter: delimiter, of: values)
  }

  static let types: [ValueType] = [
    ValueType("xml", of: ["", "text", "<a>it's ]: &amp;</a>", "<?xml version=\"1.0\"?><r/>", "<a/><b/>"]),
    own("hstore", key: true, of: ["", "a=>1", "\"it's\"=>NULL, \"\\\"\"=>\"]:\""]),
    own("citext", key: true, of: ["a", "A", "Straße", "it's", "", "b", "B"]),
    own("ltree", key: true, of: ["", "a", "a.b", "Top.Science"]),
    own("Enum ]: 'x'", key: true, of: ["a", "B b", "it's", "🐘", "]:", "back\\slash", "\""]),
    own("pair", key: true, of: ["(a,1.50,t)", "(,,)", "(\"it's \"\"q\"\"\",1,f)", "(\"\",-0,)"]),
    own("dtext", key: true, of: awkwardTexts), own("dint", key: true, of: ["1", "-5", "2147483647"]),
    own("dbool", key: true, of: ["true", "false"]), own("dnum", key: true, of: ["1", "1.005", "-9999.99", "NaN"]),
    own("darray", key: true, of: ["{}", "{1,NULL}", "{{1},{2}}"]), own("dbox", delimiter: ";", of: ["(1,1),(0,0)"]),
    own("dchar", key: true, of: ["", "a", "it's", "日本"]), own("dpair", of: ["(a,1.50,t)", "(,,)"]),
    own("ddint", key: true, of: ["1", "7"]), rangeType("\(q).floats", [("-Infinity", "1e-307"), ("-0", "0.1")]),
    ValueType("text COLLATE \(q).loose", key: true, of: ["a", "A", "b", "B", "ß", "it's", ""]),
  ]
}

/// A random schema: its statements, which make the initial rows too, and what transactions may do with its tables.
struct SchemaGenerator {
  var random: SeededRandom
  private(set) var statements: [String] = []
  private(set) var tables: [Table] = []
  /// Refreshed now and then; its rows are not replicated.
  private(set) var materializedView: String?
  private var schemas: [String] = []
  private var names = 0

  static let awkwardNames = [
    "a", "B b", "select", "ta.ble", "x[y]", "quote\"d", "apos'trophe", "größe", "🐘", "new-tuple", "old-key:", "UPPER",
    "col:on", "]:", " lead", "a,b", "table", "dollar$", "null", "back\\slash", "percent%s", "user", "value", "_", "(x)",
    "日本", "tab\tname", "line\nname", "TRUNCATE:", "1st",
  ]

  init(seed: UInt64) {
    random = SeededRandom(mixing: seed)
    for _ in 0..<2 {
      let name = freshName()
      schemas.append(name)
      statements.append("CREATE SCHEMA \(quotedIdentifier(name))")
    }
    schemas.append("public")
    for _ in 0..<random.int(3...6) { addTable() }
    if random.one(in: 2) { addPartitioned() }
    if random.one(in: 3) { addInheritance() }
    if random.one(in: 3) { addWithoutColumns() }
    if random.one(in: 2) { addReferences() }
    if random.one(in: 2) { addTriggers() }
    if random.one(in: 4) { addMaterializedView() }
    for table in tables where !table.columns.isEmpty {
      for _ in 0..<random.int(0...8) {
        statements.append(insertStatement(table, rows: 1, random: &random) + " ON CONFLICT DO NOTHING")
      }
    }
    addColumnsLater()
  }

  private mutating func freshName() -> String {
    names += 1
    return random.pick(Self.awkwardNames) + (random.one(in: 3) ? "" : " ") + "\(names)"
  }

  mutating func anyType() -> ValueType {
    let base = random.one(in: 4) ? random.pick(CommonObjects.types) : random.pick(builtInTypes)
    return random.one(in: 5) && !base.sql.contains("COLLATE") ? base.array : base
  }

  private mutating func keyType() -> ValueType {
    if random.one(in: 3) { return ValueType("integer", key: true) { String($0.int(-3...30)) } }
    if random.one(in: 5) { return ValueType("bigint", key: true) { String($0.int(0...30)) } }
    let list = (random.one(in: 3) ? CommonObjects.types : builtInTypes).filter(\.canBeKey)
    return random.pick(list)
  }

  private mutating func column(_ type: ValueType) -> Column { Column(name: freshName(), type: type) }

  private static let large = ValueType("text") { random in
    random.one(in: 2) ? randomText(&random) : String(repeating: "it's ]: 🐘 ", count: random.int(200...700))
  }

  // MARK: plain tables

  private mutating func addTable() {
    var columns: [Column] = []
    for _ in 0..<random.int(1...6) { columns.append(column(anyType())) }
    let keyCount = random.pick([1, 1, 1, 2, 3])
    for _ in 0..<keyCount {
      var key = column(keyType())
      key.isNullable = false
      columns.insert(key, at: random.int(0...columns.count))
    }
    var keys = columns.indices.filter { !columns[$0].isNullable }
    keys.shuffle(using: &random)
    if let first = keys.first, ["integer", "bigint"].contains(columns[first].type.sql), random.one(in: 3) {
      columns[first].identity = random.one(in: 2) ? .always : .byDefault
    }
    var large: Int?
    if random.one(in: 2) {
      large = columns.count
      columns.append(column(Self.large))
    }
    if random.one(in: 5) {
      var identity = column(ValueType("integer") { String($0.int(1...50)) })
      identity.identity = random.one(in: 2) ? .always : .byDefault
      identity.isNullable = false
      if !columns.contains(where: { $0.identity != .no }) { columns.append(identity) }
    }
    var unique: Int?
    if random.one(in: 3) {
      unique = columns.count
      columns.append(column(ValueType("integer") { String($0.int(0...200)) }))
    }
    if random.one(in: 3),
      let base = columns.indices.filter({ columns[$0].type.sql == "text" }).randomElement(using: &random)
    {
      var generated = column(ValueType("text", of: [""]))
      generated.generatedAs = "upper(\(columns[base].quoted)) || repeat('.', length(\(columns[base].quoted)) % 7)"
      columns.append(generated)
    }
    create(columns, keys: keys, unique: unique, large: large)
  }

  private mutating func create(_ columns: [Column], keys: [Int], unique: Int?, large: Int?) {
    var table = Table(schema: random.pick(schemas), name: freshName(), columns: columns)
    table.unique = unique
    let hasDropped = random.one(in: 4)
    var parts = columns.map { definition($0) }
    if hasDropped { parts.insert("\"gone now\" text", at: random.int(0...parts.count)) }
    let keyList = table.list(keys)
    let kind = random.int(0...19)
    let isDeferrable = kind == 18
    if kind < 12 || isDeferrable {
      parts.append("PRIMARY KEY (\(keyList))" + (isDeferrable ? " DEFERRABLE" : ""))
      table.key = keys
    }
    if let unique {
      parts.append("UNIQUE (\(columns[unique].quoted))" + (random.one(in: 2) ? " DEFERRABLE INITIALLY DEFERRED" : ""))
    }
    statements.append("CREATE TABLE \(table.quoted) (\(parts.joined(separator: ", ")))")
    if hasDropped { statements.append("ALTER TABLE \(table.quoted) DROP COLUMN \"gone now\"") }
    if let large {
      let storage = random.pick(["EXTERNAL", "EXTENDED", "MAIN"])
      statements.append("ALTER TABLE \(table.quoted) ALTER \(columns[large].quoted) SET STORAGE \(storage)")
    }
    switch kind {
    case 0...8: break
    case 9...11, 12, 13:
      statements.append("ALTER TABLE \(table.quoted) REPLICA IDENTITY FULL")
      let indexable = columns.indices.filter { columns[$0].type.canBeKey }
      if !indexable.isEmpty, random.one(in: 2) {
        statements.append("CREATE INDEX ON \(table.quoted) (\(columns[random.pick(indexable)].quoted))")
      }
    case 14...16:
      statements.append("CREATE UNIQUE INDEX \"identity \(names)\" ON \(table.quoted) (\(keyList))")
      statements.append("ALTER TABLE \(table.quoted) REPLICA IDENTITY USING INDEX \"identity \(names)\"")
    case 17:
      statements.append("ALTER TABLE \(table.quoted) REPLICA IDENTITY NOTHING")
      table.hasIdentity = false
    default: table.hasIdentity = false
    }
    tables.append(table)
  }

  private func definition(_ column: Column) -> String {
    var text = "\(column.quoted) \(column.type.sql)"
    if let expression = column.generatedAs { text += " GENERATED ALWAYS AS (\(expression)) STORED" }
    switch column.identity {
    case .no: break
    case .always: text += " GENERATED ALWAYS AS IDENTITY"
    case .byDefault: text += " GENERATED BY DEFAULT AS IDENTITY"
    }
    if !column.isNullable { text += " NOT NULL" }
    return text
  }

  /// Columns that rows from before do not have: their value stands in the catalog.
  private mutating func addColumnsLater() {
    for index in tables.indices where tables[index].isAlone && random.one(in: 5) {
      let type = anyType()
      let new = column(type)
      let value = type.value(&random)
      statements.append(
        "ALTER TABLE \(tables[index].quoted) ADD COLUMN \(definition(new)) DEFAULT \(quotedLiteral(value))")
      tables[index].columns.append(new)
    }
  }

  // MARK: special ones

  private mutating func addPartitioned() {
    var route = column(ValueType("integer") { String($0.int(0...39)) })
    route.isNullable = false
    var key = column(keyType())
    key.isNullable = false
    let columns = [column(anyType()), key, column(anyType()), route, column(Self.large)]
    var table = Table(schema: random.pick(schemas), name: freshName(), columns: columns)
    table.isAlone = false
    table.key = [3, 1]
    let name = table.quoted
    let list = columns.map { definition($0) }.joined(separator: ", ")
    statements.append(
      "CREATE TABLE \(name) (\(list), PRIMARY KEY (\(table.list(table.key)))) PARTITION BY RANGE (\(route.quoted))")
    let schema = quotedIdentifier(random.pick(schemas))
    statements.append("CREATE TABLE \(schema).\"low \(names)\" PARTITION OF \(name) FOR VALUES FROM (0) TO (10)")
    // A leaf with its columns in another order.
    let reordered = columns.reversed().map { definition($0) }.joined(separator: ", ")
    statements.append("CREATE TABLE \(schema).\"Mid.\(names)\" (\(reordered))")
    statements.append("ALTER TABLE \(name) ATTACH PARTITION \(schema).\"Mid.\(names)\" FOR VALUES FROM (10) TO (20)")
    statements.append(
      "CREATE TABLE \(schema).\"high \(names)\" PARTITION OF \(name) FOR VALUES FROM (20) TO (30) "
        + "PARTITION BY HASH (\(route.quoted))")
    for part in 0...1 {
      statements.append(
        "CREATE TABLE \(schema).\"h\(part) \(names)\" PARTITION OF \(schema).\"high \(names)\" "
          + "FOR VALUES WITH (MODULUS 2, REMAINDER \(part))")
    }
    statements.append("CREATE TABLE \(schema).\"rest \(names)\" PARTITION OF \(name) DEFAULT")
    if random.one(in: 2) {
      for leaf in ["low \(names)", "Mid.\(names)"] {
        statements.append("ALTER TABLE \(schema).\(quotedIdentifier(leaf)) REPLICA IDENTITY FULL")
      }
    }
    tables.append(table)
  }

  private mutating func addInheritance() {
    var key = column(ValueType("integer") { String($0.int(0...30)) })
    key.isNullable = false
    let columns = [column(anyType()), key, column(anyType())]
    var parent = Table(schema: random.pick(schemas), name: freshName(), columns: columns, key: [1])
    statements.append(
      "CREATE TABLE \(parent.quoted) (\(columns.map { definition($0) }.joined(separator: ", ")), "
        + "PRIMARY KEY (\(key.quoted)))")
    var child = Table(schema: random.pick(schemas), name: freshName(), columns: columns + [column(anyType())], key: [1])
    statements.append(
      "CREATE TABLE \(child.quoted) (\(definition(child.columns[3])), PRIMARY KEY (\(key.quoted))) "
        + "INHERITS (\(parent.quoted))")
    // Statements on the parent may reach the child's rows.
    parent.isAlone = random.one(in: 2)
    child.isAlone = true
    tables += [parent, child]
  }

  private mutating func addWithoutColumns() {
    var table = Table(schema: random.pick(schemas), name: freshName(), columns: [])
    statements.append("CREATE TABLE \(table.quoted) ()")
    table.hasIdentity = random.one(in: 2)
    if table.hasIdentity { statements.append("ALTER TABLE \(table.quoted) REPLICA IDENTITY FULL") }
    statements.append("INSERT INTO \(table.quoted) DEFAULT VALUES")
    tables.append(table)
  }

  private mutating func addReferences() {
    var key = column(ValueType("integer") { String($0.int(0...15)) })
    key.isNullable = false
    let columns = [column(anyType()), key]
    var parent = Table(schema: random.pick(schemas), name: freshName(), columns: columns, key: [1])
    parent.isReferenced = true
    statements.append(
      "CREATE TABLE \(parent.quoted) (\(columns.map { definition($0) }.joined(separator: ", ")), "
        + "PRIMARY KEY (\(key.quoted)))")
    let reference = column(ValueType("integer") { String($0.int(0...15)) })
    var serial = column(ValueType("bigint") { String($0.int(0...100)) })
    serial.isNullable = false
    let child = Table(
      schema: random.pick(schemas), name: freshName(), columns: [reference, serial, column(anyType())], key: [1])
    let action = random.pick(["CASCADE", "SET NULL"])
    statements.append(
      "CREATE TABLE \(child.quoted) (\(child.columns.map { definition($0) }.joined(separator: ", ")), "
        + "PRIMARY KEY (\(serial.quoted)), FOREIGN KEY (\(reference.quoted)) REFERENCES \(parent.quoted) "
        + "ON DELETE \(action) ON UPDATE CASCADE\(random.one(in: 2) ? " DEFERRABLE INITIALLY DEFERRED" : ""))")
    tables += [parent, child]
    if random.one(in: 2) {
      let unlogged = Table(
        schema: random.pick(schemas), name: freshName(), columns: [reference, serial], key: [1])
      statements.append(
        "CREATE UNLOGGED TABLE \(unlogged.quoted) (\(unlogged.columns.map { definition($0) }.joined(separator: ", ")), "
          + "PRIMARY KEY (\(serial.quoted)), FOREIGN KEY (\(reference.quoted)) REFERENCES \(parent.quoted) "
          + "ON DELETE CASCADE ON UPDATE CASCADE)")
      tables.append(unlogged)
    }
  }

  private mutating func addTriggers() {
    let schema = quotedIdentifier(schemas[0])
    let log = Table(
      schema: schemas[0], name: "log", columns: [Column(name: "entry", type: ValueType("text", of: ["by hand"]))],
      hasIdentity: false)
    statements.append("CREATE TABLE \(log.quoted) (entry text)")
    statements.append(
      """
      CREATE FUNCTION \(schema).note() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        INSERT INTO \(log.quoted) VALUES (format('%s %s %s', TG_OP, OLD, NEW));
        RETURN NULL;
      END $$
      """)
    for table in tables where random.one(in: 2) && !table.columns.isEmpty {
      statements.append(
        "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON \(table.quoted) FOR EACH ROW "
          + "EXECUTE FUNCTION \(schema).note()")
    }
    tables.append(log)
    let counted = Column(name: "n", type: ValueType("integer", of: ["0"]))
    let id = Column(name: "id", type: ValueType("integer") { String($0.int(0...30)) }, isNullable: false)
    let table = Table(schema: schemas[1], name: "stamped", columns: [counted, id], key: [1])
    statements.append("CREATE TABLE \(table.quoted) (n integer, id integer PRIMARY KEY)")
    statements.append(
      """
      CREATE FUNCTION \(schema).stamp() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.n := coalesce(NEW.n, 0) + 1;
        RETURN NEW;
      END $$
      """)
    statements.append(
      "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON \(table.quoted) FOR EACH ROW "
        + "EXECUTE FUNCTION \(schema).stamp()")
    tables.append(table)
  }

  private mutating func addMaterializedView() {
    guard let table = tables.first(where: { $0.key.count == 1 && $0.isAlone }) else { return }
    let name = "\(quotedIdentifier(schemas[1])).\"view \(names)\""
    statements.append("CREATE MATERIALIZED VIEW \(name) AS SELECT \(table.list(table.key)) AS k FROM \(table.only)")
    statements.append("CREATE UNIQUE INDEX ON \(name) (k)")
    materializedView = name
  }
}

/// `INSERT` of random rows; identity columns are given by hand, or left to their sequence.
func insertStatement(_ table: Table, rows: Int, random: inout SeededRandom) -> String {
  let byHand = random.one(in: 2)
  let list = byHand ? table.stored : table.columns.indices.filter { table.columns[$0].isPlain }
  if list.isEmpty { return "INSERT INTO \(table.quoted) DEFAULT VALUES" }
  let values = (0..<rows).map { _ in
    "(" + list.map { literal(table.columns[$0], &random) }.joined(separator: ", ") + ")"
  }
  return "INSERT INTO \(table.quoted) (\(table.list(list))) \(byHand ? "OVERRIDING SYSTEM VALUE " : "")VALUES "
    + values.joined(separator: ", ")
}

func literal(_ column: Column, _ random: inout SeededRandom) -> String {
  if column.isNullable && random.one(in: 6) { return "NULL" }
  // A literal for an integer may be one of several rows' first: its type is the column's, whatever it looks like.
  return quotedLiteral(column.type.value(&random))
}
