use futures_util::FutureExt;
use wavequill_kernel::ContentHash;

use super::*;
use crate::{CacheError, Namespace};

fn key() -> CacheKey {
    CacheKey::new(Namespace::CHUNK, [1; 32], ContentHash::new([0; 32], 0))
}

type Released = Arc<Mutex<Vec<LeaseToken>>>;

fn flights() -> (Arc<Flights>, Released) {
    let released = Released::default();
    let log = released.clone();
    (Flights::new(Box::new(move |_, token| log.lock().push(token))), released)
}

fn leader(flights: &Arc<Flights>) -> Leader {
    match flights.board(key()) {
        Role::Leader(leader) => leader,
        Role::Waiter(_) => panic!("somebody leads"),
    }
}

fn waiter(flights: &Arc<Flights>) -> Waiter {
    match flights.board(key()) {
        Role::Leader(_) => panic!("nobody leads"),
        Role::Waiter(waiter) => waiter,
    }
}

fn failed() -> FlightResult {
    FlightResult::Failed(CacheError::InvalidPattern { pattern: "x".into() })
}

const TOKEN: LeaseToken = LeaseToken([7; 16]);

#[test]
fn all_that_wait_get_the_outcome_and_the_next_caller_leads_anew() {
    let (flights, released) = flights();
    let lead = leader(&flights);
    lead.hold(TOKEN);
    let waits = [waiter(&flights), waiter(&flights)];
    lead.land(CacheLevel::L3, failed());
    for wait in waits {
        assert!(matches!(
            wait.next().now_or_never(),
            Some(Next::Landed(CacheLevel::L3, FlightResult::Failed(_)))
        ));
    }
    assert_eq!(released.lock().as_slice(), [TOKEN]);
    drop(leader(&flights));
}

#[test]
fn a_leader_that_is_dropped_passes_its_lead_and_its_lease_to_one_waiter() {
    let (flights, released) = flights();
    let lead = leader(&flights);
    lead.hold(TOKEN);
    let (one, other) = (waiter(&flights), waiter(&flights));
    drop(lead);
    let Some(Next::Lead(next)) = one.next().now_or_never() else { panic!("nobody took over") };
    assert_eq!(next.lease(), Some(TOKEN));
    let mut waiting = Box::pin(other.next());
    assert!(waiting.as_mut().now_or_never().is_none());
    next.land(CacheLevel::L3, failed());
    assert!(matches!(waiting.now_or_never(), Some(Next::Landed(..))));
    assert_eq!(released.lock().len(), 1);
}

#[test]
fn a_waiter_that_is_woken_and_dropped_leaves_the_lead_to_the_next() {
    let (flights, _released) = flights();
    let lead = leader(&flights);
    let (one, other) = (waiter(&flights), waiter(&flights));
    let mut one = Box::pin(one.next());
    assert!(one.as_mut().now_or_never().is_none());
    drop(lead);
    drop(one);
    assert!(matches!(other.next().now_or_never(), Some(Next::Lead(_))));
}

#[test]
fn a_lease_that_nobody_needs_any_more_is_given_back_once() {
    let (flights, released) = flights();
    let lead = leader(&flights);
    lead.hold(TOKEN);
    let wait = waiter(&flights);
    drop(lead);
    assert!(released.lock().is_empty());
    drop(wait);
    assert_eq!(released.lock().len(), 1);
    assert!(flights.table.lock().is_empty());
}

#[test]
fn a_leader_that_becomes_a_waiter_can_lead_again() {
    let (flights, _released) = flights();
    let wait = leader(&flights).into_waiter();
    let Some(Next::Lead(lead)) = wait.next().now_or_never() else { panic!("it does not lead") };
    drop(lead);
    assert!(flights.table.lock().is_empty());
}
