//! Runs statements on a private copy of the data, with indexes and without, and takes the time.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diesel::connection::{Connection, SimpleConnection};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection};
use wavequill_kernel::{Clock, SystemClock};

use super::SqlitePool;
use crate::DatabaseError;
use crate::adapters::errors::statement_error;
use crate::engine::catalogue::quoted;
use crate::engine::trial_text::{TrialText, VALUES};

/// A larger database is not copied: the copy is in memory.
const LARGEST_COPY_BYTES: i64 = 128 * 1024 * 1024;
/// Each of these rows gives the statement its values once.
const ROWS: [u32; 2] = [0, 997];
/// The fastest of so many runs counts.
const RUNS: u32 = 3;
/// What takes longer is run once.
const LONG: Duration = Duration::from_millis(500);

static COPIES: AtomicU64 = AtomicU64::new(0);

/// A statement, and the indexes that may make it faster, the most promising first.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) text: TrialText,
    pub(crate) indexes: Vec<TrialIndex>,
}

/// An index to try.
#[derive(Clone, Debug)]
pub(crate) struct TrialIndex {
    pub(crate) create: String,
    pub(crate) drop: String,
    /// The share of the time without it that the statement may take with it.
    pub(crate) most: f64,
}

#[derive(QueryableByName)]
struct Bytes {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

impl SqlitePool {
    /// For each trial the number of the first index that keeps its promise, if one does; `None` for one that cannot be
    /// run. `None` for all if the database is too large to be copied.
    #[track_caller]
    pub(crate) fn time_on_copy(
        &self,
        trials: Vec<Trial>,
    ) -> impl Future<Output = Result<Option<Vec<Option<Option<usize>>>>, DatabaseError>> + Send {
        self.run_read(Location::caller(), move |conn| {
            let Some(mut copy) = copy(conn).map_err(|error| statement_error(&error))? else {
                return Ok(None);
            };
            Ok(Some(trials.iter().map(|trial| first_confirmed(&mut copy, trial).ok()).collect()))
        })
    }
}

/// The database as it is now, in memory; `None` if it is too large.
fn copy(conn: &mut SqliteConnection) -> Result<Option<SqliteConnection>, diesel::result::Error> {
    let size = "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()";
    if diesel::sql_query(size).get_result::<Bytes>(conn)?.bytes > LARGEST_COPY_BYTES {
        return Ok(None);
    }
    // A name within this process; the copy is gone with the last connection to it.
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let name = format!("file:/wavequill-trial-{number}?vfs=memdb");
    let copy = SqliteConnection::establish(&name)
        .map_err(|error| diesel::result::Error::QueryBuilderError(Box::new(error)))?;
    // To write the copy the connection must be allowed to write; nothing else is written while it is.
    conn.batch_execute("PRAGMA query_only = OFF")?;
    let copied = conn.batch_execute(&format!("VACUUM INTO '{name}'"));
    conn.batch_execute("PRAGMA query_only = ON")?;
    copied.map(|()| Some(copy))
}

fn first_confirmed(
    copy: &mut SqliteConnection,
    trial: &Trial,
) -> Result<Option<usize>, diesel::result::Error> {
    let without = time(copy, &trial.text)?;
    for (at, index) in trial.indexes.iter().enumerate() {
        copy.batch_execute(&index.create)?;
        let with = time(copy, &trial.text);
        copy.batch_execute(&index.drop)?;
        if with? <= without.mul_f64(index.most) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// How long the statement takes, for the values of some rows together. What it writes is rolled back.
fn time(copy: &mut SqliteConnection, text: &TrialText) -> Result<Duration, diesel::result::Error> {
    let mut total = Duration::ZERO;
    for row in ROWS {
        copy.batch_execute(&format!("DROP TABLE IF EXISTS temp.{VALUES}"))?;
        let values = text.values.iter().enumerate().map(|(number, (table, column))| {
            let column = format!("\"{}\"", column.replace('"', "\"\""));
            // In the order of the rows, whatever indexes there are: the same values each time.
            format!("(SELECT {column} FROM {} NOT INDEXED LIMIT 1 OFFSET {row}) AS v{number}", quoted(table))
        });
        let values: Vec<_> = values.chain(["1 AS one".to_owned()]).collect();
        copy.batch_execute(&format!("CREATE TEMP TABLE {VALUES} AS SELECT {}", values.join(", ")))?;
        total += fastest(copy, &text.sql)?;
    }
    Ok(total)
}

fn fastest(copy: &mut SqliteConnection, sql: &str) -> Result<Duration, diesel::result::Error> {
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        copy.batch_execute("BEGIN")?;
        let begun = SystemClock.monotonic();
        let ran = copy.batch_execute(sql);
        let took = SystemClock.monotonic().saturating_sub(begun);
        copy.batch_execute("ROLLBACK")?;
        ran?;
        fastest = fastest.min(took);
        if took > LONG {
            break;
        }
    }
    Ok(fastest)
}
