//! Reads tables and indexes from PostgreSQL's catalogue.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::session::PlanSession;
use crate::engine::catalogue::{Catalogue, Index, Table};
use crate::{DatabaseError, StatementFailure};

const TABLES: &str = "
SELECT json_build_object(
    'name', n.nspname || '.' || c.relname,
    'columns', (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'rows', greatest(c.reltuples, coalesce(s.n_live_tup, 0)),
    'changed_since_analyze',
        CASE WHEN s.last_analyze IS NULL AND s.last_autoanalyze IS NULL THEN NULL ELSE s.n_mod_since_analyze END,
    'inserts', coalesce(s.n_tup_ins, 0), 'updates', coalesce(s.n_tup_upd, 0), 'deletes', coalesce(s.n_tup_del, 0)
)::text AS json
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND n.nspname NOT LIKE 'pg_temp%'
ORDER BY 1";

/// An index is needed by the constraint that owns it, by a foreign key whose columns it begins with, and by
/// replication that names it.
const INDEXES: &str = "
SELECT json_build_object(
    'name', n.nspname || '.' || i.relname,
    'table', tn.nspname || '.' || t.relname,
    'keys', (SELECT json_agg(pg_get_indexdef(x.indexrelid, k, true) || ' ' || x.indclass[k - 1]::text || ' '
                             || x.indcollation[k - 1]::text || ' ' || x.indoption[k - 1]::text ORDER BY k)
             FROM generate_series(1, x.indnkeyatts) k),
    'columns', (SELECT coalesce(json_agg(coalesce(a.attname, pg_get_indexdef(x.indexrelid, k, true)) ORDER BY k), '[]')
                FROM generate_series(1, x.indnkeyatts) k
                LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k - 1] AND a.attnum > 0),
    'rest', m.amname || coalesce(' WHERE ' || pg_get_expr(x.indpred, x.indrelid), '')
            || coalesce(' INCLUDE ' || (SELECT string_agg(pg_get_indexdef(x.indexrelid, k, true), ', ' ORDER BY k)
                                        FROM generate_series(x.indnkeyatts + 1, x.indnatts) k), ''),
    'unique', x.indisunique,
    'needed', x.indisprimary OR x.indisexclusion OR x.indisreplident
              OR EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conindid = x.indexrelid)
              OR EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhrelid = x.indexrelid)
              OR EXISTS (SELECT 1 FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = x.indrelid
                         AND f.conkey[1] = x.indkey[0]),
    'valid', x.indisvalid AND x.indisready,
    'bytes', pg_relation_size(x.indexrelid),
    'scans', s.idx_scan
)::text AS json
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_am m ON m.oid = i.relam LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = x.indexrelid
WHERE tn.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND tn.nspname NOT LIKE 'pg_temp%'
ORDER BY 1";

const SORT: &str = "SELECT (setting::bigint * 1024)::text AS json FROM pg_settings WHERE name = 'work_mem'";

/// All tables and indexes that are not the system's.
pub(crate) async fn catalogue(session: &mut PlanSession) -> Result<Catalogue, DatabaseError> {
    let tables: Vec<Table> = rows(session.json(TABLES).await?)?;
    let indexes: Vec<Index> = rows(session.json(INDEXES).await?)?;
    let sort_bytes = session.json(SORT).await?.first().and_then(Value::as_u64);
    Ok(Catalogue {
        tables: tables.into_iter().map(|table| (table.name.clone(), table)).collect(),
        indexes,
        sort_bytes,
    })
}

fn rows<T: DeserializeOwned>(values: Vec<Value>) -> Result<Vec<T>, DatabaseError> {
    let read = |value| {
        serde_json::from_value(value).map_err(|error| DatabaseError::Statement {
            failure: StatementFailure::Other,
            detail: format!("the catalogue is not as expected: {error}"),
        })
    };
    values.into_iter().map(read).collect()
}
