//! Opens connections to PostgreSQL, says why one cannot be opened, and stops what runs on one that is not clean.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, NoTls};

use super::pooler::{ADVICE, FoundPooler, SessionEntry, Sessions};
use crate::adapters::errors::statement_error;
use crate::adapters::instrument::{OnLost, Probe, Watch};
use crate::config::PostgresConfig;
use crate::engine::pool_core::{Canceller, ConnectTicket, Connector, DiscardTicket, PoolCore, Pooled};
use crate::engine::recorder::QueryRecorder;
use crate::ports::CredentialSource;
use crate::{ConnectFailure, DatabaseError};

/// How long a statement that was given up may take to end on the server, before its place is given away.
const STOP: Duration = Duration::from_secs(2);

/// The tasks of a pool, which end with it.
pub(super) struct Tasks {
    set: Mutex<JoinSet<()>>,
    runtime: Handle,
}

impl Tasks {
    pub(super) fn new() -> Result<Arc<Self>, DatabaseError> {
        let runtime = Handle::try_current().map_err(|_| {
            wavequill_kernel::InvalidValue::new(
                "runtime",
                "none",
                "a tokio runtime with I/O and time enabled",
            )
        })?;
        Ok(Arc::new(Self { set: Mutex::new(JoinSet::new()), runtime }))
    }

    /// On the runtime of the caller, if there is one: the one that opened the pool may have ended.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock();
        while set.try_join_next().is_some() {}
        let runtime = Handle::try_current().unwrap_or_else(|_| self.runtime.clone());
        set.spawn_on(task, &runtime);
    }
}

/// Opens a connection by other means than the default: TLS, a proxy, a tunnel.
pub(crate) type OpenConnection = Arc<
    dyn Fn(
            tokio_postgres::Config,
        ) -> Pin<Box<dyn Future<Output = Result<AsyncPgConnection, OpenError>> + Send>>
        + Send
        + Sync,
>;

/// Why a connection could not be opened, from whatever layer.
pub(crate) type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// A connection of the pool.
pub(crate) struct PgConnection {
    conn: AsyncPgConnection,
    probe: Arc<Probe>,
    tasks: Arc<Tasks>,
    /// Its place among the open sessions.
    _session: SessionEntry,
}

impl Deref for PgConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.conn
    }
}

impl DerefMut for PgConnection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }
}

impl Pooled for PgConnection {
    fn is_clean(&mut self) -> bool {
        self.probe.next_holder();
        self.probe.is_clean()
            && !AnsiTransactionManager::is_broken_transaction_manager(&mut self.conn)
            // Whoever put an instrumentation of their own in its place has made us blind.
            && self.conn.instrumentation().is::<Watch>()
    }

    fn canceller(&self) -> Option<Canceller> {
        let token = self.conn.cancel_token();
        let tasks = Arc::clone(&self.tasks);
        Some(Arc::new(move || {
            let token = token.clone();
            tasks.spawn(async move { cancel(&token).await });
        }))
    }
}

impl PgConnection {
    /// It is not to be handed on.
    pub(crate) fn mark_broken(&self) {
        self.probe.mark_broken();
    }
}

/// Asks the server to stop a statement. Nobody says whether it did.
async fn cancel(token: &CancelToken) {
    if let Err(error) = token.cancel_query(NoTls).await {
        tracing::debug!(%error, "a request to cancel a statement did not reach the server");
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct PgConnector {
    inner: Arc<Inner>,
}

struct Inner {
    config: PostgresConfig,
    name: Arc<str>,
    credentials: Option<Arc<dyn CredentialSource>>,
    open: Option<OpenConnection>,
    recorder: Arc<QueryRecorder>,
    tasks: Arc<Tasks>,
    sessions: Arc<Sessions>,
    core: OnceLock<Weak<PoolCore<PgConnection>>>,
}

impl Connector<PgConnection> for PgConnector {
    fn connect(&self, ticket: ConnectTicket<PgConnection>) {
        let connector = self.clone();
        self.inner.tasks.spawn(async move {
            let result = connector.open_shared().await;
            ticket.finish(result);
        });
    }

    fn discard(&self, conn: PgConnection, ticket: DiscardTicket<PgConnection>) {
        self.inner.tasks.spawn(async move {
            let PgConnection { mut conn, _session, .. } = conn;
            let stop = async {
                cancel(&conn.cancel_token()).await;
                // Answered after the statement has ended: its place on the server is free.
                drop(conn.batch_execute("").await);
            };
            // One that does not answer is closed all the same.
            drop(timeout(STOP, stop).await);
            drop(conn);
            drop(ticket);
        });
    }
}

impl PgConnector {
    pub(super) fn new(
        config: PostgresConfig,
        credentials: Option<Arc<dyn CredentialSource>>,
        open: Option<OpenConnection>,
        recorder: Arc<QueryRecorder>,
        tasks: Arc<Tasks>,
    ) -> Self {
        let name = Arc::from(config.name.as_str());
        let sessions = Arc::new(Sessions::default());
        let inner =
            Inner { config, name, credentials, open, recorder, tasks, sessions, core: OnceLock::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Lets the connections tell the pool that the server has gone.
    pub(super) fn watch(&self, core: &Arc<PoolCore<PgConnection>>) {
        // Set once, by the pool that is being made.
        drop(self.inner.core.set(Arc::downgrade(core)));
    }

    async fn open_shared(&self) -> Result<PgConnection, DatabaseError> {
        let url = match &self.inner.credentials {
            Some(credentials) => credentials.url().await?,
            None => self.inner.config.url.clone(),
        };
        self.open(&url).await
    }

    /// A connection past the pooler, if the configuration names a way.
    pub(super) async fn open_direct(&self) -> Result<Option<PgConnection>, DatabaseError> {
        match &self.inner.config.direct_url {
            Some(url) => self.open(url).await.map(Some),
            None => Ok(None),
        }
    }

    async fn open(&self, url: &SecretString) -> Result<PgConnection, DatabaseError> {
        let limit = self.inner.config.connect_timeout;
        timeout(limit, self.establish(url)).await.unwrap_or_else(|_| {
            Err(self.failed(ConnectFailure::Unreachable, format!("no connection within {limit:?}")))
        })
    }

    async fn establish(&self, url: &SecretString) -> Result<PgConnection, DatabaseError> {
        let mut config: tokio_postgres::Config =
            url.expose_secret().parse().map_err(|error| self.refused(&error))?;
        if config.get_application_name().is_none() {
            config.application_name(format!("wavequill/{}", self.inner.name));
        }
        let opened = match &self.inner.open {
            Some(open) => open(config).await,
            None => establish_plain(config).await,
        };
        let mut conn = opened.map_err(|error| self.refused(&*error))?;
        self.set_up(&mut conn).await?;
        let session = match self.inner.sessions.enter(&mut conn).await {
            Ok(entered) => entered.map_err(|FoundPooler| {
                self.failed(ConnectFailure::Unsuitable, format!("two connections share a session: {ADVICE}"))
            })?,
            Err(error) => return Err(self.refused(&error)),
        };
        let probe = Arc::new(Probe::default());
        let watch = Watch::new(Arc::clone(&probe), Arc::clone(&self.inner.recorder), Some(self.on_lost()));
        conn.set_instrumentation(watch);
        Ok(PgConnection { conn, probe, tasks: Arc::clone(&self.inner.tasks), _session: session })
    }

    /// The settings of the session: the profile's, and that the server notices a client that has gone.
    async fn set_up(&self, conn: &mut AsyncPgConnection) -> Result<(), DatabaseError> {
        let own = "SELECT set_config(name, '2s', false) FROM pg_settings \
                   WHERE name = 'client_connection_check_interval' AND setting = '0'"
            .to_owned();
        let profile = self.inner.config.session.settings();
        let profile = profile
            .map(|(name, value)| format!("SELECT set_config({}, {}, false)", literal(name), literal(value)));
        let sql: Vec<String> = std::iter::once(own).chain(profile).collect();
        conn.batch_execute(&sql.join("; ")).await.map_err(|error| {
            let detail = format!("a setting of the session was refused: {}", statement_error(&error));
            self.failed(ConnectFailure::Unsuitable, detail)
        })
    }

    fn on_lost(&self) -> OnLost {
        let core = self.inner.core.get().cloned().unwrap_or_default();
        Arc::new(move || {
            if let Some(core) = core.upgrade() {
                core.new_generation();
            }
        })
    }

    fn refused(&self, error: &(dyn std::error::Error + 'static)) -> DatabaseError {
        let text = with_causes(error);
        if is_about_prepared_statements(&text) {
            return self.failed(ConnectFailure::Unsuitable, format!("{text}: {ADVICE}"));
        }
        self.failed(connect_failure(error), text)
    }

    fn failed(&self, failure: ConnectFailure, detail: String) -> DatabaseError {
        DatabaseError::Connect { pool: Arc::clone(&self.inner.name), failure, detail }
    }
}

async fn establish_plain(config: tokio_postgres::Config) -> Result<AsyncPgConnection, OpenError> {
    let (client, connection) = config.connect(NoTls).await?;
    Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
}

fn connect_failure(error: &(dyn std::error::Error + 'static)) -> ConnectFailure {
    let Some(code) = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code)
    else {
        let text = with_causes(error).to_lowercase();
        return if text.contains("tls") {
            ConnectFailure::TlsRequired
        } else if text.contains("connection string") {
            ConnectFailure::Unsuitable
        } else {
            ConnectFailure::Unreachable
        };
    };
    if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        ConnectFailure::AccessRefused
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        ConnectFailure::NoSuchDatabase
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        ConnectFailure::TooManyConnections
    } else if code.code().starts_with("57P") || code.code().starts_with("08") {
        ConnectFailure::Unreachable
    } else {
        ConnectFailure::Unsuitable
    }
}

/// tokio-postgres names only the step that failed; the cause says why.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A prepared statement of ours is gone, or one of somebody else's is in its place.
fn is_about_prepared_statements(text: &str) -> bool {
    text.contains("prepared statement")
        && (text.contains("does not exist") || text.contains("already exists"))
}

/// A string constant of SQL.
pub(crate) fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}
