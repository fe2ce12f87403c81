//! What a stretch of work costs: time, CPU here and in the server, WAL, transactions.

use std::fmt;
use std::time::{Duration, Instant};

use wavequill_database::adapters::diesel_async_0_9::tokio_postgres;
use wavequill_database::adapters::diesel_async_0_9::tokio_postgres::{Client, NoTls};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Ticks of `/proc/*/stat` a second: fixed by Linux's interface.
const TICKS: f64 = 100.0;

/// An empty database of this name on the server, and its URL.
pub(crate) async fn fresh_database(url: &str, name: &str) -> Result<String> {
    let client = connect(url).await?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    let (server, _) = url.rsplit_once('/').ok_or("the URL names no database")?;
    Ok(format!("{server}/{name}"))
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::task::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the measuring connection ended: {error}");
        }
    });
    Ok(client)
}

/// Costs of one job.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) a_second: f64,
    pub(crate) server_us: f64,
    pub(crate) client_us: f64,
    pub(crate) wal_bytes: f64,
    pub(crate) transactions: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7.0} jobs/s, a job: {:5.1} µs of the server's CPU, {:5.1} µs of this process, {:5.0} bytes of WAL, {:.4} transactions",
            self.a_second, self.server_us, self.client_us, self.wal_bytes, self.transactions
        )
    }
}

pub(crate) fn median(measured: &[Measured]) -> Measured {
    let of = |field: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = measured.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Measured {
        a_second: of(|m| m.a_second),
        server_us: of(|m| m.server_us),
        client_us: of(|m| m.client_us),
        wal_bytes: of(|m| m.wal_bytes),
        transactions: of(|m| m.transactions),
    }
}

/// Counters at the start.
pub(crate) struct Meter {
    client: Client,
    started: Instant,
    server: f64,
    own: f64,
    wal: i64,
    transactions: i64,
}

impl Meter {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        client.batch_execute("CHECKPOINT").await?;
        let (wal, transactions) = counters(&client).await?;
        let (server, own) = (server_seconds(&client).await?, own_seconds()?);
        Ok(Self { client, started: Instant::now(), server, own, wal, transactions })
    }

    pub(crate) async fn stop(self, jobs: u64) -> Result<Measured> {
        let elapsed = self.started.elapsed();
        let (server, own) = (server_seconds(&self.client).await?, own_seconds()?);
        // Sessions report their transactions about once a second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (wal, transactions) = counters(&self.client).await?;
        let jobs = jobs as f64;
        Ok(Measured {
            a_second: jobs / elapsed.as_secs_f64(),
            server_us: (server - self.server) * 1e6 / jobs,
            client_us: (own - self.own) * 1e6 / jobs,
            wal_bytes: (wal - self.wal) as f64 / jobs,
            transactions: (transactions - self.transactions) as f64 / jobs,
        })
    }
}

async fn counters(client: &Client) -> Result<(i64, i64)> {
    let row = client
        .query_one(
            "SELECT (pg_current_wal_lsn() - '0/0')::bigint, (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())",
            &[],
        )
        .await?;
    Ok((row.get(0), row.get(1)))
}

/// User and system time of this process.
fn own_seconds() -> Result<f64> {
    let (own, _) = times(&std::fs::read_to_string("/proc/self/stat")?)?;
    Ok(own)
}

/// The time of the server: of its processes, and of those that it has waited for.
async fn server_seconds(client: &Client) -> Result<f64> {
    let folder: String = client.query_one("SHOW data_directory", &[]).await?.get(0);
    let pid_file = std::fs::read_to_string(format!("{folder}/postmaster.pid"))?;
    let server: u32 = pid_file.lines().next().ok_or("an empty postmaster.pid")?.trim().parse()?;
    let (own, ended) = times(&std::fs::read_to_string(format!("/proc/{server}/stat"))?)?;
    let mut seconds = own + ended;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        if parent(&stat) == Some(server) {
            seconds += times(&stat)?.0;
        }
    }
    Ok(seconds)
}

/// The fields after the name of the program, which may hold spaces.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat).nth(1)?.parse().ok()
}

/// Own time, and that of children that have ended.
fn times(stat: &str) -> Result<(f64, f64)> {
    let ticks: Vec<f64> =
        fields(stat).skip(11).take(4).map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [user, system, ended_user, ended_system] = ticks[..] else { return Err("a short stat".into()) };
    Ok(((user + system) / TICKS, (ended_user + ended_system) / TICKS))
}
