//! The life of one link: opened, watched, retired.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::entry::SETTLING;
use super::origin_pool::OriginPool;
use crate::metrics::CloseCause;
use crate::ports::{HttpTransport, LinkPhase};

pub(super) async fn run(
    pool: Arc<OriginPool>,
    transport: Arc<dyn HttpTransport>,
    opened: Option<oneshot::Sender<()>>,
) {
    let link = match transport.connect(pool.origin()).await {
        Ok(link) => link,
        Err(error) => {
            tracing::debug!(target: "wavequill::external", %error, "no connection");
            pool.failed(&error);
            return;
        }
    };
    let mut state = link.state();
    let (id, emptied) = pool.add(&link);
    if let Some(opened) = opened {
        // Whoever asked may have left; the link is there all the same.
        opened.send(()).ok();
    }
    let mut settled = Some(Instant::now() + SETTLING);
    let (mut ours, mut by_peer) = (None, None);
    loop {
        let Some(age) = pool.idle_and_age(id) else { return };
        let oldest = age.opened_at + pool.config().max_age;
        let retire = age.idle_since.map_or(oldest, |since| oldest.min(since + pool.config().idle));
        let wake = settled.map_or(retire, |settled| settled.min(retire));
        tokio::select! {
            next = link.changed(state) => {
                let announced = next.phase != LinkPhase::Open && state.phase == LinkPhase::Open;
                if announced && pool.drains_by_peer(id) {
                    by_peer = Some(if next.phase == LinkPhase::Draining { CloseCause::Goaway } else { CloseCause::Error });
                }
                state = next;
                pool.update(id, next);
                if next.phase == LinkPhase::Closed {
                    pool.remove(id, ours.or(by_peer).unwrap_or(CloseCause::Goaway));
                    return;
                }
            }
            () = emptied.notified(), if state.phase == LinkPhase::Draining || ours.is_some() => {
                pool.remove(id, ours.or(by_peer).unwrap_or(CloseCause::Goaway));
                return;
            }
            () = sleep_until(wake) => {
                let now = Instant::now();
                if settled.is_some_and(|settled| settled <= now) {
                    settled = None;
                    pool.recheck();
                } else if retire <= now && ours.is_none() {
                    // A request may have come since: its stream goes on, the link ends after it.
                    ours = Some(if oldest <= now { CloseCause::Age } else { CloseCause::Idle });
                    pool.retire(id);
                    state = link.state();
                } else if ours.is_some() {
                    // Draining: woken by the last stream.
                    emptied.notified().await;
                    pool.remove(id, ours.unwrap_or(CloseCause::Age));
                    return;
                }
            }
        }
    }
}
