//! Reads tables and indexes from an SQLite database.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::SqlitePool;
use crate::engine::catalogue::{Catalogue, Index, Table, quoted};
use crate::{DatabaseError, StatementFailure};

const TABLES: &str = "
SELECT json_object('name', m.name, 'columns', (
    SELECT json_group_array(c.name) FROM pragma_table_info(m.name) c
)) AS json
FROM sqlite_schema m WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name";

/// An index without a statement of its own belongs to a constraint. One that begins with the columns of a foreign key
/// serves that.
const INDEXES: &str = "
SELECT json_object(
    'name', l.name, 'table', m.name,
    'keys', (SELECT json_group_array(coalesce(x.name, 'expression ' || x.cid) || ' ' || x.coll || ' ' || x.desc)
             FROM (SELECT * FROM pragma_index_xinfo(l.name) WHERE key ORDER BY seqno) x),
    'columns', (SELECT json_group_array(coalesce(x.name, '')) FROM
                (SELECT * FROM pragma_index_xinfo(l.name) WHERE key ORDER BY seqno) x),
    'rest', 'btree' || CASE WHEN l.partial OR EXISTS (SELECT 1 FROM pragma_index_xinfo(l.name) WHERE key AND cid = -2)
                       THEN ' WHERE ' || coalesce((SELECT sql FROM sqlite_schema WHERE name = l.name), '') ELSE '' END,
    'unique', json(CASE WHEN l.\"unique\" THEN 'true' ELSE 'false' END),
    'needed', json(CASE WHEN l.origin <> 'c' OR EXISTS (
        SELECT 1 FROM pragma_foreign_key_list(m.name) f
        JOIN pragma_index_info(l.name) i ON i.seqno = 0 AND f.\"from\" = i.name AND f.seq = 0
    ) THEN 'true' ELSE 'false' END)
) AS json
FROM sqlite_schema m JOIN pragma_index_list(m.name) l
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY l.name";

/// All tables and indexes, with the tables' exact numbers of rows.
pub(crate) async fn catalogue(pool: &SqlitePool) -> Result<Catalogue, DatabaseError> {
    let mut tables: Vec<Table> = rows(pool.json(TABLES.to_owned()).await?)?;
    let indexes: Vec<Index> = rows(pool.json(INDEXES.to_owned()).await?)?;
    for table in &mut tables {
        let count = pool.json(format!("SELECT count(*) AS json FROM {}", quoted(&table.name))).await;
        // A virtual table may refuse to be counted.
        table.rows = count.ok().and_then(|rows| rows.first().and_then(Value::as_f64)).unwrap_or(0.0);
    }
    let analyzed = analyzed(pool).await?;
    for table in tables.iter_mut().filter(|table| analyzed.contains(&table.name)) {
        table.changed_since_analyze = Some(0);
    }
    let tables = tables.into_iter().map(|table| (table.name.clone(), table)).collect();
    Ok(Catalogue { tables, indexes, sort_bytes: None })
}

/// The tables that `sqlite_stat1` knows. Since when they have changed nobody counts.
async fn analyzed(pool: &SqlitePool) -> Result<Vec<String>, DatabaseError> {
    let known = pool
        .json("SELECT count(*) AS json FROM sqlite_schema WHERE name = 'sqlite_stat1'".to_owned())
        .await?;
    if known.first().and_then(Value::as_u64) != Some(1) {
        return Ok(Vec::new());
    }
    let tables = pool.json("SELECT DISTINCT json_quote(tbl) AS json FROM sqlite_stat1".to_owned()).await?;
    Ok(tables.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn rows<T: DeserializeOwned>(values: Vec<Value>) -> Result<Vec<T>, DatabaseError> {
    let read = |value| {
        serde_json::from_value(value).map_err(|error| DatabaseError::Statement {
            failure: StatementFailure::Other,
            detail: format!("the schema is not as expected: {error}"),
        })
    };
    values.into_iter().map(read).collect()
}
