//! Several processes on one database: one of them pays, and the death of one does not stop the others. The processes
//! are this test binary, started again with a role.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use wavequill_caching::adapters::SqliteCacheStore;
use wavequill_caching::ports::CachePorts;
use wavequill_caching::testing::cache::Strike;
use wavequill_caching::testing::{key, seconds};
use wavequill_caching::{CacheConfig, CacheExt, CachePut, MultiLevelCache};
use wavequill_database::{DieselConnectionPoolManager, SqliteConfig};

use crate::servers::{new_database, postgres_at};

/// Where the store is, as a role is told: a URL of PostgreSQL or a file of SQLite.
const STORE: &str = "WAVEQUILL_TEST_ROLE_STORE";
/// The file that each load adds one byte to.
const LOADS: &str = "WAVEQUILL_TEST_ROLE_LOADS";
const TASKS: usize = 250;

async fn open(store: &str) -> MultiLevelCache {
    let ports = if store.starts_with("postgres") {
        CachePorts::on(Arc::new(postgres_at(store).await))
    } else {
        let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(store)).await.unwrap();
        CachePorts::on(Arc::new(SqliteCacheStore::open(manager.pool()).await.unwrap()))
    };
    let config = CacheConfig::default().with_lease_ttl(Duration::from_secs(1));
    MultiLevelCache::new(config, ports).unwrap()
}

/// The role of this process, if it was started for one.
#[expect(clippy::disallowed_methods, reason = "a role is given by the environment")]
fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(STORE).ok()?, std::env::var(LOADS).ok()?.into()))
}

/// Starts this test again, as a process with a role.
fn start(test: &str, store: &str, loads: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(STORE, store)
        .env(LOADS, loads)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    (child, said)
}

fn say(word: &str) {
    std::io::stdout().write_all(format!("\n{word}\n").as_bytes()).unwrap();
}

/// Reads on until the process says the word.
fn hear(said: &mut BufReader<ChildStdout>, word: &str) {
    let mut line = String::new();
    while line.trim() != word {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the process ended before it said `{word}`");
    }
}

/// Pays once, and not before the parent has heard from all.
async fn pay(loads: PathBuf) -> Result<CachePut, Strike> {
    OpenOptions::new().append(true).create(true).open(loads).unwrap().write_all(b"1").unwrap();
    say("paying");
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    waiting.await.unwrap().unwrap();
    Ok(CachePut::new(key(1), "paid for once", seconds(100)))
}

async fn many_tasks_ask(store: &str, loads: &Path) {
    let cache = open(store).await;
    say("ready");
    let asked = key(1);
    let tasks = (0..TASKS).map(|_| cache.get_or_load(&asked, |_| pay(loads.to_owned())));
    for value in join_all(tasks).await {
        assert_eq!(value.unwrap().body().as_ref(), b"paid for once");
    }
}

/// Four processes ask for one cold key, all at once; only when all are there, the one that pays may go on.
fn four_processes_make_one_call(test: &str, store: &str) {
    let folder = tempfile::tempdir().unwrap();
    let loads = folder.path().join("loads");
    let mut processes: Vec<_> = (0..4).map(|_| start(test, store, &loads)).collect();
    for (_, said) in &mut processes {
        hear(said, "ready");
    }
    for (child, _) in &mut processes {
        // Those that pay nothing do not read it, and may have ended.
        let _ = child.stdin.take().unwrap().write_all(b"go\n");
    }
    for (child, said) in &mut processes {
        std::io::copy(said, &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::read(&loads).unwrap().len(), 1, "a thousand tasks, one call");
}

#[tokio::test]
async fn a_thousand_tasks_in_four_processes_make_one_call_on_postgres() {
    if let Some((store, loads)) = role() {
        return many_tasks_ask(&store, &loads).await;
    }
    let test = "processes::a_thousand_tasks_in_four_processes_make_one_call_on_postgres";
    four_processes_make_one_call(test, &new_database().await);
}

#[tokio::test]
async fn a_thousand_tasks_in_four_processes_make_one_call_on_one_file() {
    if let Some((store, loads)) = role() {
        return many_tasks_ask(&store, &loads).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "processes::a_thousand_tasks_in_four_processes_make_one_call_on_one_file";
    four_processes_make_one_call(test, folder.path().join("cache.db").to_str().unwrap());
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_loads_is_followed_by_another() {
    if let Some((store, loads)) = role() {
        return many_tasks_ask(&store, &loads).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let loads = folder.path().join("loads");
    let store = new_database().await;
    let test = "processes::a_process_that_is_killed_while_it_loads_is_followed_by_another";
    let (mut child, mut said) = start(test, &store, &loads);
    hear(&mut said, "paying");
    let cache = open(&store).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let next = async |_| Ok::<_, Strike>(CachePut::new(key(1), "paid for again", seconds(100)));
    let value = cache.get_or_load(&key(1), next).await.unwrap();
    assert_eq!(value.body().as_ref(), b"paid for again");
    assert_eq!(std::fs::read(&loads).unwrap().len(), 1);
}
