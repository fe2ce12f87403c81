//! Tables and indexes as a database describes them, in the form that the rules work on.

use std::collections::BTreeMap;

use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3;

#[cfg(feature = "postgres")]
use crate::TableWrites;
use crate::{TableFacts, TableStatistics};

/// See the module. Names are `schema.table`; SQLite's are `table`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) sort_bytes: Option<u64>,
}

/// A table.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    #[serde(default)]
    pub(crate) rows: f64,
    #[serde(default)]
    pub(crate) changed_since_analyze: Option<u64>,
    #[cfg(feature = "postgres")]
    #[serde(default)]
    pub(crate) inserts: u64,
    #[cfg(feature = "postgres")]
    #[serde(default)]
    pub(crate) updates: u64,
    #[cfg(feature = "postgres")]
    #[serde(default)]
    pub(crate) deletes: u64,
}

/// An index. Two whose signatures are equal are the same in everything but the name.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) table: String,
    /// Columns and expressions, each with its operator class, collation and order.
    pub(crate) keys: Vec<String>,
    /// The names alone, where they are columns.
    pub(crate) columns: Vec<String>,
    /// Everything but the keys: method, predicate, included columns.
    pub(crate) rest: String,
    pub(crate) unique: bool,
    /// Whether a constraint, a foreign key or replication needs it.
    pub(crate) needed: bool,
    #[serde(default = "yes")]
    pub(crate) valid: bool,
    #[serde(default)]
    pub(crate) bytes: u64,
    /// How often it was used; `None` where the database does not count.
    #[serde(default)]
    pub(crate) scans: Option<u64>,
}

const fn yes() -> bool {
    true
}

impl Catalogue {
    /// The table that a statement names, with or without its schema.
    pub(crate) fn find(&self, name: &str) -> Option<&Table> {
        let by_name = self.tables.get(name);
        by_name.or_else(|| {
            self.tables.values().find(|table| plain(&table.name) == plain(name) && !name.contains('.'))
        })
    }

    /// Changes when an index comes, goes or changes.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut indexes: Vec<_> =
            self.indexes.iter().map(|index| (&index.name, &index.table, &index.keys)).collect();
        indexes.sort();
        let mut hash = Xxh3::new();
        for (name, table, keys) in indexes {
            hash.update(format!("{name}\0{table}\0{}\n", keys.join("\0")).as_bytes());
        }
        hash.digest()
    }

    pub(crate) fn statistics(&self) -> TableStatistics {
        let tables = self.tables.values().map(|table| {
            let firsts = self.indexes.iter().filter(|index| index.table == table.name);
            let facts = TableFacts {
                rows: table.rows,
                changed_since_analyze: table.changed_since_analyze,
                indexed: firsts.filter_map(|index| index.columns.first().cloned()).collect(),
            };
            (table.name.clone(), facts)
        });
        TableStatistics { tables: tables.collect(), sort_bytes: self.sort_bytes }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn writes(&self) -> BTreeMap<String, TableWrites> {
        let tables = self.tables.values();
        tables
            .map(|table| (table.name.clone(), TableWrites::new(table.inserts, table.updates, table.deletes)))
            .collect()
    }
}

/// The name without its schema.
pub(crate) fn plain(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, plain)| plain)
}

/// A name as SQL takes it whatever is in it: each part in double quotes, unless it is plain.
pub(crate) fn quoted(name: &str) -> String {
    let quote = |part: &str| {
        let plain = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if plain && !RESERVED.contains(&part) {
            part.to_owned()
        } else {
            format!("\"{}\"", part.replace('"', "\"\""))
        }
    };
    match name.split_once('.') {
        Some((schema, name)) => format!("{}.{}", quote(schema), quote(name)),
        None => quote(name),
    }
}

/// Reserved words that make likely names of columns and tables.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "both",
    "case",
    "check",
    "column",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "index",
    "into",
    "key",
    "limit",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "primary",
    "references",
    "select",
    "table",
    "then",
    "to",
    "transaction",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_when_they_must_be() {
        assert_eq!(quoted("public.jobs"), "public.jobs");
        assert_eq!(quoted("public.order"), "public.\"order\"");
        assert_eq!(quoted("Weird\"Name"), "\"Weird\"\"Name\"");
    }

    #[test]
    fn another_index_is_another_fingerprint() {
        let mut catalogue = Catalogue::default();
        let empty = catalogue.fingerprint();
        catalogue.indexes.push(Index { name: "i".to_owned(), ..Index::default() });
        assert_ne!(catalogue.fingerprint(), empty);
    }
}
