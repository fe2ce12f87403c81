//! The contract of [`ConnectionPoolManager`].

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::{ConnectionPoolManager, DatabaseError, HealthVerdict, PoolSize, ScaleReason, Utilization};

/// Puts a manager through its contract; it is closed at the end.
///
/// The pool must be fresh, have at least 3 connections at most, and have a minimum below its maximum. `hold` takes a
/// connection from it and keeps it until what it returns is dropped.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub async fn connection_pool_manager<M, H, F, G>(manager: M, hold: H)
where
    M: ConnectionPoolManager,
    H: Fn() -> F,
    F: Future<Output = Result<G, DatabaseError>>,
{
    the_minimum_is_opened(&manager).await;
    the_size_follows_within_the_limits(&manager, &hold).await;
    health_is_told(&manager).await;
    a_closed_pool_refuses(&manager, &hold).await;
}

async fn the_minimum_is_opened<M: ConnectionPoolManager>(manager: &M) {
    let stats = manager.ensure_min_connections().await;
    assert!(stats.is_ok(), "5: the minimum could not be opened: {stats:?}");
    let stats = manager.stats();
    assert!(stats.size >= 1, "5: nothing is open: {stats:?}");
    assert_eq!(stats.size, stats.checked_in, "nobody holds a connection, but not all are idle: {stats:?}");
    assert!(manager.holders().is_empty(), "nobody holds a connection, but there are holders");
}

async fn the_size_follows_within_the_limits<M, H, F, G>(manager: &M, hold: &H)
where
    M: ConnectionPoolManager,
    H: Fn() -> F,
    F: Future<Output = Result<G, DatabaseError>>,
{
    let huge = scale(manager, u32::MAX).await;
    assert_eq!(huge.reason, ScaleReason::Clamped, "4: an absurd size was not clamped: {huge:?}");
    assert!(huge.to >= 3, "the suite needs a pool of at least 3 connections");
    scale(manager, 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(hold().await);
        assert!(held.iter().all(Result::is_ok), "a connection below the target was not given");
    }
    let stats = manager.stats();
    assert_eq!((stats.checked_out, stats.size), (3, 3), "three are held: {stats:?}");
    assert_eq!(stats.utilization(), 1.0, "all are in use: {stats:?}");
    assert_eq!(manager.holders().len(), 3, "three are held");

    let mut fourth = pin!(hold());
    assert!(poll(fourth.as_mut()).is_pending(), "1: a connection beyond the target was given");
    let least = scale(manager, 1).await;
    let stats = manager.stats();
    assert_eq!(
        stats.overflow,
        3 - least.to,
        "2: what is out is not taken back, but counts as overflow: {stats:?}"
    );
    held.truncate(least.to as usize);
    let _ = poll(fourth.as_mut());
    if least.to == 1 {
        assert!(
            poll(fourth.as_mut()).is_pending(),
            "2: a connection was given while as many are held as may be"
        );
    }
    held.clear();
    let fourth = fourth.await;
    assert!(fourth.is_ok(), "3: the caller that waited was not served");
    drop(fourth);
    let quiet = manager.scale_by_utilization(Utilization::DEFAULT).await;
    assert!(quiet.is_ok(), "an open pool refused to scale: {quiet:?}");
}

async fn scale<M: ConnectionPoolManager>(manager: &M, to: u32) -> crate::ScaleOutcome {
    let wanted = PoolSize::new(to).unwrap_or(PoolSize::ONE);
    let outcome = manager.scale_to(wanted).await;
    let Ok(outcome) = outcome else { panic!("4: an open pool refused to scale: {outcome:?}") };
    let stats = manager.stats();
    assert_eq!(
        (outcome.to, outcome.wanted),
        (stats.target, to),
        "4: the outcome is not what happened: {stats:?}"
    );
    outcome
}

async fn health_is_told<M: ConnectionPoolManager>(manager: &M) {
    let health = manager.check_health().await;
    assert_eq!(health.verdict, HealthVerdict::Healthy, "a pool that answers is not healthy: {health:?}");
}

async fn a_closed_pool_refuses<M, H, F, G>(manager: &M, hold: &H)
where
    M: ConnectionPoolManager,
    H: Fn() -> F,
    F: Future<Output = Result<G, DatabaseError>>,
{
    let held = hold().await;
    assert!(held.is_ok(), "an open pool gave no connection");
    let report = manager.close_all(Duration::from_millis(1)).await;
    assert_eq!(report.still_out.len(), 1, "6: one is still out: {report:?}");
    let late = hold().await;
    assert!(matches!(late, Err(DatabaseError::Closed { .. })), "6: a closed pool gave a connection");
    drop(held);
    let report = manager.close_all(Duration::from_secs(10)).await;
    assert!(report.still_out.is_empty(), "6: all are back: {report:?}");
    assert_eq!(manager.stats().size, 0, "6: a closed pool keeps connections");
    let scaled = manager.scale_to(PoolSize::ONE).await;
    assert!(matches!(scaled, Err(DatabaseError::Closed { .. })), "6: a closed pool was scaled: {scaled:?}");
    let health = manager.check_health().await;
    assert_eq!(health.verdict, HealthVerdict::Down, "6: a closed pool is down: {health:?}");
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
