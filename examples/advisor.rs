//! Looks at a PostgreSQL or SQLite database and says what is slow, why, and which indexes would help or can go.
//!
//! ```console
//! $ cargo run --example advisor -- postgres://user@host/database
//! $ cargo run --example advisor -- app.db --statements statements.sql
//! $ cargo run --example advisor -- postgres://user@host/database --apply 1,2 --yes
//! ```
//!
//! It changes nothing unless it is told to with `--apply` and `--yes`; before that it shows all that it would run. An
//! SQLite file is opened as this library's pools open it: with a write-ahead log.

#[path = "advisor/report.rs"]
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use wavequill_database::{
    ChangeId, ConnectionPoolManager, DieselConnectionPoolManager, Fingerprint, IndexBudget, IndexManager,
    IndexPlan, ObservedQuery, PoolLimits, PostgresConfig, PostgresIndexManager, PostgresIndexManagerConfig,
    PostgresQueryOptimizer, QueryOptimizer, SqliteConfig, SqliteIndexManager, SqliteQueryOptimizer,
    TableScope, Window, Workload,
};

/// Says what is slow in a database, why, and which indexes would help. Changes nothing unless told to.
#[derive(Debug, Parser)]
#[command(name = "advisor", version)]
struct Args {
    /// `postgres://user:password@host/database`, or the path of an SQLite file.
    #[arg(env = "DATABASE_URL", hide_env_values = true)]
    database: String,
    /// A file of statements, each ended by `;`, instead of what the server has recorded. SQLite records nothing, so it
    /// needs one.
    #[arg(long, value_name = "FILE")]
    statements: Option<PathBuf>,
    /// How many of the costliest statements are looked at.
    #[arg(long, default_value_t = 10)]
    most: usize,
    /// How many megabytes all new indexes together may take.
    #[arg(long, default_value_t = 1_024, value_name = "MB")]
    budget: u64,
    /// For how many days an index must not have been used to be called unused.
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    unused_after: u64,
    /// Build these of the proposed indexes: numbers of the report as `1,3`, or `all`.
    #[arg(long, value_name = "NUMBERS")]
    apply: Option<String>,
    /// Yes, change the database: without it `--apply` only shows what it would run.
    #[arg(long, requires = "apply")]
    yes: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if args.database.contains("://") || args.database.contains("dbname=") {
        let limits = PoolLimits::new(1, 2)?;
        let config = PostgresConfig::new(args.database.clone()).with_name("advisor").with_limits(limits);
        let manager = DieselConnectionPoolManager::open_postgres(config)?;
        manager.ensure_min_connections().await.context("the database cannot be looked at")?;
        let pool = manager.pool();
        let unused_after = std::time::Duration::from_secs(args.unused_after * 86_400);
        let config = PostgresIndexManagerConfig::default().with_unused_after(unused_after);
        let indexes = PostgresIndexManager::with_config(pool.clone(), config)?;
        advise(&args, &manager, &PostgresQueryOptimizer::new(pool), &indexes).await
    } else {
        let path = Path::new(&args.database);
        if !path.is_file() {
            bail!("{} is no file; name an SQLite database, or give a postgres:// URL", path.display());
        }
        if args.statements.is_none() {
            bail!("SQLite does not record statements: name a file of them with --statements");
        }
        let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(path)).await?;
        let pool = manager.pool();
        advise(&args, &manager, &SqliteQueryOptimizer::new(pool.clone()), &SqliteIndexManager::new(pool))
            .await
    }
}

async fn advise(
    args: &Args,
    manager: &dyn ConnectionPoolManager,
    optimizer: &dyn QueryOptimizer,
    indexes: &dyn IndexManager,
) -> Result<()> {
    let health = manager.check_health().await;
    let workload = match &args.statements {
        Some(file) => given(file)?,
        None => optimizer.workload(&Window::All).await?,
    };
    let budget = IndexBudget::default().with_bytes(args.budget * 1_000_000);
    let queries = optimizer.report_on(&workload, args.most).await?;
    let audit = indexes.audit(&TableScope::All).await?;
    let plan = indexes.propose(&workload, &budget).await?;
    report::print(&report::Report {
        health: &health,
        workload: &workload,
        queries: &queries,
        audit: &audit,
        plan: &plan,
    });
    let outcome = match &args.apply {
        Some(wanted) => apply(indexes, &plan, wanted, args.yes).await,
        None => Ok(()),
    };
    manager.close_all(std::time::Duration::from_secs(5)).await;
    outcome
}

/// Statements of a file, all of the same weight.
fn given(file: &Path) -> Result<Workload> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let queries: Vec<_> = (1..)
        .zip(statements)
        .map(|(number, text)| {
            ObservedQuery::new(Fingerprint::new(number), text, 1, std::time::Duration::from_secs(1))
        })
        .collect();
    if queries.is_empty() {
        bail!("{} has no statement", file.display());
    }
    Ok(Workload::of(queries))
}

async fn apply(indexes: &dyn IndexManager, plan: &IndexPlan, wanted: &str, sure: bool) -> Result<()> {
    let ids: Vec<ChangeId> = if wanted == "all" {
        plan.changes.iter().map(|change| change.id).collect()
    } else {
        let number = |text: &str| text.trim().parse().map(ChangeId::new);
        wanted
            .split(',')
            .map(number)
            .collect::<Result<_, _>>()
            .context("--apply takes numbers as 1,3, or all")?
    };
    let approved = plan.approve(&ids)?;
    report::print_changes(approved.changes(), sure);
    if sure {
        let done = indexes.apply(&approved).await?;
        report::print_applied(&done);
        if let Some((change, reason)) = &done.failed {
            bail!("{} was not built: {reason}", change.index);
        }
    }
    Ok(())
}
