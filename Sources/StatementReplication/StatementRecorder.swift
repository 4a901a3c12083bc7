package import ReplicationModel

/// The source's half of `ddl: replicate`: event triggers that write each statement down in a protected table, where the
/// stream finds it in its place among the rows.
///
/// Nobody but the triggers can write there. The table and its schema belong to pgconvoy's own role, and nobody else has any
/// privilege on them, not even by default privileges. What writes is the trigger's function itself, which only
/// the server can call: it has no helper that a user's function might call while a statement runs.
///
/// `current_query()` is the text that the client has sent, whatever ran inside of it. So a statement that ran inside a
/// function is marked: the call stack says so, which nobody can forge. The role is that of the session, never
/// `current_user`: a SECURITY DEFINER function runs as its owner, but its caller has chosen the text.
package enum StatementRecorder {
  package static func table(_ schema: String) -> RelationName { RelationName(schema: schema, name: "statement") }

  /// Settings of the session that change what a statement's text means, or what it computes.
  static let settings = [
    "array_nulls", "bytea_output", "check_function_bodies", "DateStyle", "default_table_access_method",
    "default_tablespace", "default_text_search_config", "default_toast_compression", "extra_float_digits",
    "IntervalStyle", "lc_monetary", "row_security", "standard_conforming_strings", "TimeZone", "transform_null_equals",
    "xmlbinary", "xmloption",
  ]

  /// Event triggers, by what is behind the schema's name.
  package static let triggers = ["_start", "_end", "_drop", "_rewrite"]

  /// What makes them in one database, in one transaction.
  package static func statements(_ schema: String) -> [String] {
    let name = quotedIdentifier(schema)
    func trigger(_ suffix: String, _ event: String, _ tags: [String] = []) -> String {
      let filter = tags.isEmpty ? "" : " WHEN TAG IN (\(list(tags)))"
      return "CREATE EVENT TRIGGER \(quotedIdentifier(schema + suffix)) ON \(event)\(filter) "
        + "EXECUTE FUNCTION \(name).record()"
    }
    return [
      "CREATE SCHEMA \(name)",
      """
      CREATE TABLE \(name).statement (
        event text NOT NULL, tag text NOT NULL, command text, objects text, problem text, role text NOT NULL,
        superuser boolean NOT NULL, settings text NOT NULL, relations text, columns text, rewritten text, outcome text)
      """,
      // No update or delete of a superuser's is refused for a publication's sake.
      "ALTER TABLE \(name).statement REPLICA IDENTITY FULL",
      // Never in a stream: what was rewritten is told with its statement.
      "CREATE UNLOGGED TABLE \(name).rewritten (xact xid8, relation oid, PRIMARY KEY (xact, relation))",
      StatementOutcome.function("\(name).outcome"),
      function(name),
      closing(schema),
      trigger("_start", "ddl_command_start", StatementList.tagsWithRows),
      trigger("_end", "ddl_command_end"),
      trigger("_drop", "sql_drop"),
      trigger("_rewrite", "table_rewrite"),
    ]
  }

  /// Takes away what default privileges, and PUBLIC, have been given.
  private static func closing(_ schema: String) -> String {
    """
    DO $close$
    DECLARE
      granted record;
    BEGIN
      FOR granted IN
        SELECT kind, object, acl.grantee
          FROM (SELECT 'SCHEMA' AS kind, pg_catalog.quote_ident(nspname) AS object, nspowner AS owner,
                       coalesce(nspacl, pg_catalog.acldefault('n', nspowner)) AS acl
                  FROM pg_catalog.pg_namespace WHERE nspname = \(quotedLiteral(schema))
                UNION ALL
                SELECT 'TABLE', c.oid::pg_catalog.regclass::text, c.relowner,
                       coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
                  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = \(quotedLiteral(schema)) AND c.relkind = 'r'
                UNION ALL
                SELECT 'FUNCTION', p.oid::pg_catalog.regprocedure::text, p.proowner,
                       coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
                  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                 WHERE n.nspname = \(quotedLiteral(schema))) AS ours
         CROSS JOIN LATERAL pg_catalog.aclexplode(ours.acl) AS acl WHERE acl.grantee <> ours.owner
      LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.object,
          CASE WHEN granted.grantee = 0 THEN 'PUBLIC'
               ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(granted.grantee)) END);
      END LOOP;
    END
    $close$
    """
  }

  /// The caller's `search_path` is part of what a statement means, so it is read before it is pinned: by the
  /// declarations, which name everything in full.
  private static func function(_ name: String) -> String {
    """
    CREATE FUNCTION \(name).record() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $record$
    DECLARE
      path pg_catalog.text := pg_catalog.current_setting('search_path');
      quoting pg_catalog.text := pg_catalog.current_setting('quote_all_identifiers');
      stack pg_catalog.text;
      told pg_catalog.record;
      changed pg_catalog.oid[];
      added pg_catalog.text[];
      executor pg_catalog.text;
      query pg_catalog.text;
      shadow pg_catalog.text;
      trouble pg_catalog.text;
      result pg_catalog.text;
    BEGIN
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      PERFORM pg_catalog.set_config('quote_all_identifiers', 'off', true);
      GET DIAGNOSTICS stack = PG_CONTEXT;
      <<work>>
      BEGIN
        IF tg_event = 'table_rewrite' THEN
          -- Another access method changes no row.
          IF pg_event_trigger_table_rewrite_reason() <> 8 THEN
            INSERT INTO \(name).rewritten VALUES (pg_current_xact_id(), pg_event_trigger_table_rewrite_oid())
              ON CONFLICT DO NOTHING;
          END IF;
          EXIT work;
        ELSIF tg_event = 'ddl_command_start' THEN
          -- Before its rows. Whether it is about a temporary table is known by its text only.
          EXIT work WHEN strpos(stack, chr(10)) > 0 OR starts_with(ltrim(path, ' "'), 'pg_temp');
          SELECT NULL::text AS objects, NULL::text[] AS relations INTO told;
        ELSIF tg_event = 'sql_drop' THEN
          EXIT work WHEN tg_tag NOT LIKE 'DROP %';
          SELECT string_agg(concat_ws(' ', object_type, object_identity), ', ') AS objects,
                 array_agg(object_identity) FILTER (WHERE object_type = 'index') AS relations,
                 bool_or(is_temporary) AS some_temporary, bool_and(is_temporary) AS temporary
            INTO told FROM pg_event_trigger_dropped_objects()
           WHERE original AND NOT (session_user = current_user AND (coalesce(object_type, '') IN ('publication', 'subscription')
                                     OR starts_with(concat(schema_name, object_identity), 'pgconvoy_')));
          EXIT work WHEN told.objects IS NULL OR told.temporary;
          IF told.some_temporary THEN trouble := 'it is about a temporary object too'; END IF;
        ELSE
          WITH gone AS (
            DELETE FROM \(name).rewritten WHERE xact = pg_current_xact_id() AND strpos(stack, chr(10)) = 0
            RETURNING relation)
          SELECT array_agg(relation) INTO changed FROM gone JOIN pg_class ON oid = relation AND relpersistence <> 't';
          EXIT work WHEN tg_tag IN ('REFRESH MATERIALIZED VIEW', 'REINDEX');
          SELECT string_agg(DISTINCT concat_ws(' ', lower(c.object_type), c.object_identity), ', ') AS objects,
                 array_agg(DISTINCT c.objid::regclass::text) FILTER (WHERE c.classid = 'pg_class'::regclass) AS relations
            INTO told FROM pg_event_trigger_ddl_commands() AS c
           -- The cutover copies large objects, with owners and privileges.
           WHERE NOT c.in_extension AND lower(c.object_type) IS DISTINCT FROM 'large object'
             AND c.schema_name IS DISTINCT FROM 'pg_temp'
             AND NOT EXISTS (
               SELECT FROM pg_class t WHERE t.relpersistence = 't' AND t.oid = CASE c.classid
                 WHEN 'pg_class'::regclass THEN c.objid
                 WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = c.objid)
                 WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = c.objid)
                 WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = c.objid) END)
             AND NOT (session_user = current_user AND (coalesce(c.object_type, '') IN ('publication', 'subscription')
                        OR starts_with(concat(c.schema_name, c.object_identity), 'pgconvoy_')));
          EXIT work WHEN told.objects IS NULL;
          IF tg_tag = 'ALTER TABLE' THEN
            -- A default that was computed once, for all rows that were there.
            SELECT array_agg(attrelid::regclass::text || '.' || quote_ident(attname)) INTO added FROM pg_attribute
             WHERE atthasmissing AND age(xmin) <= age(pg_current_xact_id()::xid);
          END IF;
        END IF;
        executor := current_setting('role');
        IF executor = 'none' THEN executor := session_user; END IF;
        IF strpos(stack, chr(10)) > 0 THEN
          trouble := 'it ran inside a function or the like';
        ELSIF tg_tag = ANY (ARRAY[\(list(StatementList.tags))]) THEN
          query := current_query();
          SELECT relname INTO shadow FROM pg_class
           WHERE relnamespace = pg_my_temp_schema() AND strpos(lower(query), lower(relname)) > 0
             AND (relname COLLATE "C" !~ '^[A-Za-z0-9_$]+$'
                  OR lower(relname) = ANY (regexp_split_to_array(lower(query) COLLATE "C", '[^a-z0-9_$]+'))) LIMIT 1;
          IF FOUND THEN trouble := format('its session has a temporary relation %I, which it may mean', shadow); END IF;
        END IF;
        -- To read a table is to plan, and that calls immutable functions of predicates and statistics, as us.
        IF EXISTS (
          SELECT FROM unnest(changed) AS c(oid) JOIN pg_depend d
              ON d.classid = 'pg_class'::regclass AND d.objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid)
              OR d.classid = 'pg_statistic_ext'::regclass
                 AND d.objid IN (SELECT s.oid FROM pg_statistic_ext s WHERE s.stxrelid = c.oid)
           WHERE d.refobjid >= 16384
             AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_cast'::regclass))
        THEN
          trouble := coalesce(trouble, 'it rewrote a table with indexes or statistics that call functions of users');
        END IF;
        IF tg_event = 'ddl_command_end' AND trouble IS NULL THEN
          BEGIN
            result := \(name).outcome(told.relations, added, ARRAY(SELECT unnest(changed)::regclass::text ORDER BY 1));
          EXCEPTION WHEN OTHERS THEN
            -- Whatever cannot be told is no reason for the statement to fail.
            trouble := 'what it came to cannot be told (SQLSTATE ' || SQLSTATE || ')';
          END;
        END IF;
        INSERT INTO \(name).statement
        SELECT tg_event, tg_tag, query, told.objects, trouble, executor,
               coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = executor), false),
               (SELECT jsonb_object_agg(s.name, s.setting) FROM pg_settings s
                 WHERE s.name = ANY (ARRAY[\(list(settings))])) || jsonb_build_object('search_path', path),
               told.relations, added, ARRAY(SELECT unnest(changed)::regclass::text ORDER BY 1),
               result;
      END;
      PERFORM pg_catalog.set_config('quote_all_identifiers', quoting, true);
      PERFORM pg_catalog.set_config('search_path', path, true);
    END
    $record$
    """
  }

  private static func list(_ texts: [String]) -> String { texts.map(quotedLiteral).joined(separator: ", ") }
}

/// What a statement has come to, as one text: the same function on both sides says whether it came to the same.
///
/// It names what the statement made or changed as the catalogs define it, the values that it put into columns of rows
/// that were there, and, where it rewrote a table, the table's rows by their count and the sum of their hashes. So a default
/// of `now()`, a `USING` that is not immutable, or a name that meant another object is found, not guessed.
enum StatementOutcome {
  /// Runs with its caller's rights and writes nothing.
  static func function(_ name: String) -> String {
    """
    CREATE FUNCTION \(name)(relations text[], columns text[], rewritten text[]) RETURNS text LANGUAGE plpgsql
      SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC'
      SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C' SET quote_all_identifiers = off
      SET row_security = off SET enable_seqscan = on SET constraint_exclusion = off
    AS $outcome$
    DECLARE
      result text;
      line text;
      name text;
    BEGIN
      SELECT string_agg(concat_ws(' ', r.name, coalesce(c.relkind::text, 'missing'), pg_get_expr(c.relpartbound, c.oid),
               CASE WHEN c.relkind IN ('i', 'I') THEN pg_get_indexdef(c.oid)
                    WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid)
                    WHEN c.relkind IN ('r', 'p') THEN
                      (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                                CASE WHEN a.attnotnull THEN 'NOT NULL' END, pg_get_expr(d.adbin, d.adrelid)), ', '
                                ORDER BY a.attnum)
                         FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END), '; '
               ORDER BY r.name COLLATE "C")
        INTO result FROM unnest(relations) AS r(name) LEFT JOIN pg_class c ON c.oid = to_regclass(r.name);
      IF columns <> '{}' THEN
        SELECT string_agg(path || ' = ' || value, '; ' ORDER BY path COLLATE "C") INTO line
          FROM (SELECT attrelid::regclass::text || '.' || quote_ident(attname) AS path, attmissingval::text AS value
                  FROM pg_attribute WHERE atthasmissing) AS computed WHERE path = ANY (columns);
        result := concat_ws('; ', result, line);
      END IF;
      FOREACH name IN ARRAY coalesce(rewritten, '{}') LOOP
        IF EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass(name) AND c.relkind IN ('r', 'm')) THEN
          EXECUTE format('SELECT count(*) || '' rows, '' || coalesce(sum(hashtextextended(textin(record_out(t.*)) '
            'COLLATE "C", 0)), 0) FROM ONLY %s AS t', to_regclass(name)) INTO line;
          result := concat_ws('; ', result, name || ': ' || line);
        END IF;
      END LOOP;
      RETURN coalesce(result, '');
    END
    $outcome$
    """
  }
}
