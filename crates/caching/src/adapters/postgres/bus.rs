//! Notices by `NOTIFY`. One session of its own listens for this process; what it hears goes to the caches here.

use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{Array, Text};
use diesel::{QueryResult, sql_query};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use wavequill_database::PostgresPool;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use wavequill_database::adapters::diesel_async_0_9::{DedicatedPostgresConnection, PostgresPoolExt};

use crate::adapters::notices::{decode, encode};
use crate::local_bus::LocalBus;
use crate::ports::{Notice, NoticeReceiver};

/// Where notices go.
const CHANNEL: &str = "wavequill_caching";
/// How many subjects one message carries: in hexadecimal digits, it must stay below 8,000 bytes.
const SUBJECTS: usize = 240;
/// How long to wait before the listener connects again; doubled with each failure, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The bus of one store.
#[derive(Debug)]
pub(super) struct PostgresBus {
    local: Arc<LocalBus>,
    /// The listener, once somebody wants to hear. It ends with the store.
    listener: Mutex<JoinSet<()>>,
}

impl PostgresBus {
    pub(super) fn new() -> Self {
        Self { local: Arc::new(LocalBus::new()), listener: Mutex::default() }
    }

    /// Starts to listen; the first caller of all starts the listener, too.
    pub(super) fn subscribe(&self, pool: &PostgresPool) -> Box<dyn NoticeReceiver> {
        let mut listener = self.listener.lock();
        if listener.is_empty() {
            listener.spawn(listen(pool.clone(), self.local.clone()));
        }
        self.local.subscribe()
    }
}

/// Sends a notice to all nodes, this one included.
pub(super) async fn notify(conn: &mut AsyncPgConnection, notice: &Notice) -> QueryResult<()> {
    let messages: Vec<String> = encode(notice, SUBJECTS).iter().map(|message| to_hex(message)).collect();
    if messages.is_empty() {
        return Ok(());
    }
    sql_query("SELECT pg_notify($1, message) FROM unnest($2) AS message")
        .bind::<Text, _>(CHANNEL)
        .bind::<Array<Text>, _>(messages)
        .execute(conn)
        .await?;
    Ok(())
}

/// Hears what is sent, for as long as the store lives. What was said while no session listened is lost: the caches
/// are told so.
async fn listen(pool: PostgresPool, bus: Arc<LocalBus>) {
    let mut pause = RETRY.0;
    loop {
        match session(&pool).await {
            Ok(mut conn) => {
                pause = RETRY.0;
                bus.publish(Notice::Lagged);
                hear(&mut conn, &bus).await;
                tracing::debug!(target: "wavequill::caching", "the session that hears notices has ended; another follows");
            }
            Err(error) => {
                tracing::debug!(
                    target: "wavequill::caching", %error,
                    "no session hears the notices of other nodes: until one does, the cache looks at the log"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

async fn session(
    pool: &PostgresPool,
) -> Result<DedicatedPostgresConnection, Box<dyn std::error::Error + Send + Sync>> {
    let mut conn = pool.dedicated("notices of the cache").await?;
    conn.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
    Ok(conn)
}

/// Ends with the session.
async fn hear(conn: &mut AsyncPgConnection, bus: &LocalBus) {
    let mut messages = std::pin::pin!(conn.notifications_stream());
    while let Some(Ok(message)) = messages.next().await {
        if let Some(notice) = from_hex(&message.payload).and_then(|message| decode(message.into())) {
            bus.publish(notice);
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subject;

    #[test]
    fn a_message_is_read_as_it_was_written_and_fits_a_notification() {
        let notice = Notice::Ended(vec![Subject::everything(); SUBJECTS]);
        let [message] = &encode(&notice, SUBJECTS)[..] else { panic!("it is one message") };
        let text = to_hex(message);
        assert!(text.len() < 8_000, "{}", text.len());
        assert_eq!(from_hex(&text).and_then(|message| decode(message.into())), Some(notice));
    }

    #[test]
    fn what_is_no_message_is_ignored() {
        for text in ["", "6", "zz", "é1", "+1", "00"] {
            assert_eq!(from_hex(text).and_then(|message| decode(message.into())), None, "{text}");
        }
    }
}
