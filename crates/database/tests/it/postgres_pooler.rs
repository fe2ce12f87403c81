use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use wavequill_database::adapters::diesel_async_0_9::diesel::{self, sql_types::BigInt};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::RunQueryDsl;
use wavequill_database::adapters::diesel_async_0_9::{PostgresPoolExt, tokio_postgres};
use wavequill_database::{
    ConnectionPoolManager, DieselConnectionPoolManager, PoolLimits, PostgresConfig, PostgresPool,
};
use wavequill_kernel::{ErrorClass, Retryable};

use crate::server::{new_database, with_database};

/// A PgBouncer in front of the tests' server. It ends with this.
struct PgBouncer {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "looks for a program as a shell does")]
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|file| file.is_file());
    assert!(found.is_some(), "there is no pgbouncer: run cargo xtask test");
    found.unwrap()
}

impl PgBouncer {
    /// In this mode, with so many sessions on the server.
    fn start(server: &str, mode: &str, sessions: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server: tokio_postgres::Config = server.parse().unwrap();
        let host = match server.get_hosts().first().unwrap() {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            tokio_postgres::config::Host::Unix(folder) => folder.display().to_string(),
        };
        let password = server
            .get_password()
            .map(|password| format!(" password={}", String::from_utf8_lossy(password)))
            .unwrap_or_default();
        let settings = format!(
            "[databases]\n* = host={host} port={} user={}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             default_pool_size = {sessions}\n",
            server.get_ports().first().copied().unwrap_or(5_432),
            server.get_user().unwrap(),
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new(program());
        // It refuses to run as root.
        if Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0) {
            let mut readable = folder.path().metadata().unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut readable, 0o755);
            std::fs::set_permissions(folder.path(), readable).unwrap();
            command.args(["-u", "nobody"]);
        }
        let mut child = command.arg(&file).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let up = log.any(|line| {
            seen.push(line.unwrap());
            seen.last().is_some_and(|line| line.contains("process up"))
        });
        // What it says later is read, too, or it would wait for somebody to do so.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let bouncer = Self { child, port, _folder: folder };
        assert!(up, "pgbouncer did not start: {seen:?}");
        bouncer
    }

    fn manager(&self, database: &str) -> DieselConnectionPoolManager<PostgresPool> {
        let url = format!("postgres://anybody@127.0.0.1:{}/{database}", self.port);
        let config = PostgresConfig::new(url).with_limits(PoolLimits::new(2, 2).unwrap());
        DieselConnectionPoolManager::open_postgres(config).unwrap()
    }
}

fn name_of(url: &str) -> &str {
    url.split('?').next().unwrap().rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused_with_what_to_do() {
    let database = new_database().await;
    let bouncer = PgBouncer::start(&with_database(&database, "postgres"), "transaction", 1);
    let error = bouncer.manager(name_of(&database)).ensure_min_connections().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Permanent, "{error}");
    for part in ["pooler in transaction mode", "session mode", "max_prepared_statements"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_pooler_in_session_mode_is_as_good_as_the_server() {
    let database = new_database().await;
    let bouncer = PgBouncer::start(&with_database(&database, "postgres"), "session", 2);
    let manager = bouncer.manager(name_of(&database));
    assert_eq!(manager.ensure_min_connections().await.unwrap().size, 2);
    let pool = manager.pool();
    let mut held = Vec::new();
    for number in 0..2_i64 {
        let mut conn = pool.connection().await.unwrap();
        for _ in 0..20 {
            diesel::sql_query("SELECT $1").bind::<BigInt, _>(number).execute(&mut *conn).await.unwrap();
        }
        held.push(conn);
    }
}
