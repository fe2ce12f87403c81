//! Claims: the first in line, or tenants in turn, in the one writer's transaction.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use serde_json::json;
use wavequill_database::adapters::diesel_async_0_9::diesel;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Double, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::limits;
use super::rows::{JobRow, Number, id_list, ids, load_one, store_one};
use crate::adapters::fair::{FairState, MAX_ROUNDS, heads_per_lane};
use crate::model::order::{from_micros, to_micros};
use crate::{
    ClaimChoice, ClaimRequest, ClaimRound, ClaimToken, Claimed, Cost, Job, JobId, JobState, Lane, LaneId,
    LaneJob, Lease, LeasedJob, LimitKey, Placement, Policies, SessionId, WorkerType,
};

/// What a store's process remembers between claims.
#[derive(Debug, Default)]
pub(super) struct Turns {
    claims: usize,
    fair: BTreeMap<WorkerType, FairState>,
}

/// `None` if the session has ended.
pub(super) fn claim(
    conn: &mut SqliteConnection,
    request: &ClaimRequest,
    turns: &mut Turns,
    policies: &Policies,
) -> Result<Option<Claimed>, Error> {
    let now = policies.clock.now();
    let Some(mut types) = types_of(conn, request.session)? else { return Ok(None) };
    let all = json!(types).to_string();
    turns.claims = turns.claims.wrapping_add(1);
    let turn = turns.claims.checked_rem(types.len()).unwrap_or(0);
    types.rotate_left(turn);
    promote(conn, now, 1_000)?;

    let free = request.free.0 as usize;
    let mut claim = Claim {
        session: request.session,
        token: None,
        now,
        policies,
        paused: paused(conn)?,
        jobs: Vec::new(),
    };
    claim.take_up_placed(conn, free)?;
    if let Some(only) = &request.only {
        claim.take_listed(conn, only, &all, free)?;
    } else {
        for worker_type in &types {
            claim.take_in_turn(conn, turns, worker_type, free)?;
        }
    }
    let mut next_due = None;
    if claim.jobs.len() < free {
        let due: Option<Number> = sql_query(
            "SELECT run_at AS number FROM queue_job INDEXED BY queue_job_due WHERE state = 2 \
             AND worker_type IN (SELECT value FROM json_each(?1)) ORDER BY run_at LIMIT 1",
        )
        .bind::<Text, _>(&all)
        .get_result(conn)
        .optional()?;
        next_due = due.map(|due| from_micros(due.number).duration_since(now).unwrap_or_default());
    }
    Ok(Some(Claimed { jobs: claim.jobs, next_due }))
}

/// Scheduled jobs that are due stand in line; answers how many.
pub(super) fn promote(conn: &mut SqliteConnection, now: SystemTime, budget: u32) -> Result<u32, Error> {
    let promoted = sql_query(
        "UPDATE queue_job SET state = 0 WHERE id IN (SELECT id FROM queue_job INDEXED BY queue_job_due \
         WHERE state = 2 AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2)",
    )
    .bind::<BigInt, _>(to_micros(now))
    .bind::<BigInt, _>(i64::from(budget))
    .execute(conn)?;
    Ok(promoted as u32)
}

/// The types of a live session.
fn types_of(conn: &mut SqliteConnection, session: SessionId) -> Result<Option<Vec<WorkerType>>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        types: String,
    }
    let row: Option<Row> = sql_query("SELECT types FROM queue_session WHERE id = ?1 AND fenced = 0")
        .bind::<BigInt, _>(session.get())
        .get_result(conn)
        .optional()?;
    let parse = |row: Row| {
        serde_json::from_str(&row.types).map_err(|error| Error::DeserializationError(error.into()))
    };
    row.map(parse).transpose()
}

/// What is known of a worker type: paused, fair.
#[derive(QueryableByName)]
struct RouteRow {
    #[diesel(sql_type = Text)]
    worker_type: String,
    #[diesel(sql_type = BigInt)]
    paused: i64,
    #[diesel(sql_type = BigInt)]
    fair: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Route {
    paused: bool,
    fair: bool,
}

fn paused(conn: &mut SqliteConnection) -> Result<HashMap<String, Route>, Error> {
    let rows: Vec<RouteRow> = sql_query("SELECT worker_type, paused, fair FROM queue_route").load(conn)?;
    let route = |row: RouteRow| (row.worker_type, Route { paused: row.paused != 0, fair: row.fair != 0 });
    Ok(rows.into_iter().map(route).collect())
}

struct Claim<'a> {
    session: SessionId,
    token: Option<ClaimToken>,
    now: SystemTime,
    policies: &'a Policies,
    paused: HashMap<String, Route>,
    jobs: Vec<LeasedJob>,
}

/// The first job of a lane.
#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Double)]
    cost: f64,
    #[diesel(sql_type = Nullable<BigInt>)]
    limit_key: Option<i64>,
}

impl HeadRow {
    fn job(self) -> LaneJob {
        let cost = Cost::new(self.cost as f32).unwrap_or_default();
        LaneJob { job: JobId::new(self.id), cost, limit: self.limit_key }
    }
}

impl Claim<'_> {
    fn route(&self, worker_type: &WorkerType) -> Route {
        self.paused.get(worker_type.as_str()).copied().unwrap_or_default()
    }

    /// The token of this claim: taken when the first job is, so that an empty claim writes nothing.
    fn token(&mut self, conn: &mut SqliteConnection) -> Result<ClaimToken, Error> {
        if let Some(token) = self.token {
            return Ok(token);
        }
        let token = next_token(conn)?;
        self.token = Some(token);
        Ok(token)
    }

    fn take_up_placed(&mut self, conn: &mut SqliteConnection, free: usize) -> Result<(), Error> {
        let placed: Vec<Number> = sql_query(
            "SELECT id AS number FROM queue_job INDEXED BY queue_job_held \
             WHERE session = ?1 AND session IS NOT NULL AND state = 5 ORDER BY sort_key, id LIMIT ?2",
        )
        .bind::<BigInt, _>(self.session.get())
        .bind::<BigInt, _>(free as i64)
        .load(conn)?;
        self.start(conn, &ids(placed))
    }

    fn take_listed(
        &mut self,
        conn: &mut SqliteConnection,
        only: &[JobId],
        types: &str,
        free: usize,
    ) -> Result<(), Error> {
        let heads: Vec<HeadRow> = sql_query(
            "SELECT id, cost, limit_key FROM queue_job WHERE id IN (SELECT value FROM json_each(?1)) \
             AND state = 0 AND worker_type IN (SELECT value FROM json_each(?2)) \
             AND worker_type NOT IN (SELECT worker_type FROM queue_route WHERE paused <> 0) \
             ORDER BY sort_key, id",
        )
        .bind::<Text, _>(id_list(only))
        .bind::<Text, _>(types)
        .load(conn)?;
        let jobs = heads.into_iter().map(HeadRow::job).collect();
        let lanes = [Lane { id: LaneId::NONE, weight: 1.0, deficit: 0.0, jobs, complete: true }];
        let wanted = free.saturating_sub(self.jobs.len());
        self.round(conn, &lanes, false, wanted).map(drop)
    }

    fn take_in_turn(
        &mut self,
        conn: &mut SqliteConnection,
        turns: &mut Turns,
        worker_type: &WorkerType,
        free: usize,
    ) -> Result<(), Error> {
        let route = self.route(worker_type);
        let wanted = free.saturating_sub(self.jobs.len());
        if route.paused || wanted == 0 {
            return Ok(());
        }
        if !route.fair {
            return self.take_first(conn, worker_type, wanted);
        }
        for _ in 0..MAX_ROUNDS {
            let all = ready_lanes(conn, worker_type)?;
            let wanted = free.saturating_sub(self.jobs.len());
            if all.is_empty() || wanted == 0 {
                return Ok(());
            }
            let fair = turns.fair.entry(worker_type.clone()).or_default();
            let order = fair.order(&all);
            let resumed = order.first().is_some_and(|first| fair.resumes(*first));
            let heads = heads_per_lane(wanted, order.len());
            let mut lanes = Vec::with_capacity(order.len());
            for id in order {
                let mut jobs = line(conn, worker_type, id, heads + 1)?;
                let complete = jobs.len() <= heads;
                jobs.truncate(heads);
                lanes.push(Lane { id, weight: weight(conn, id)?, deficit: fair.deficit(id), jobs, complete });
            }
            let choice = self.round(conn, &lanes, resumed, wanted)?;
            turns.fair.entry(worker_type.clone()).or_default().apply(&choice, &all);
            if choice.take.is_empty() && choice.park.is_empty() && choice.defer.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nobody shares this route: the first in line.
    fn take_first(
        &mut self,
        conn: &mut SqliteConnection,
        worker_type: &WorkerType,
        wanted: usize,
    ) -> Result<(), Error> {
        let first: Vec<Number> = sql_query(
            "SELECT id AS number FROM queue_job INDEXED BY queue_job_ready \
             WHERE state = 0 AND worker_type = ?1 AND lane = 0 ORDER BY sort_key, id LIMIT ?2",
        )
        .bind::<Text, _>(worker_type.as_str())
        .bind::<BigInt, _>(wanted as i64)
        .load(conn)?;
        self.start(conn, &ids(first))
    }

    fn round(
        &mut self,
        conn: &mut SqliteConnection,
        lanes: &[Lane],
        resumed: bool,
        wanted: usize,
    ) -> Result<ClaimChoice, Error> {
        let keys = lanes.iter().flat_map(|lane| &lane.jobs).filter_map(|job| job.limit);
        let limits = limits::load(conn, keys)?;
        let round = ClaimRound { now: self.now, wanted, lanes, resumed, limits: &limits };
        let choice = self.policies.priority.choose(&round);
        limits::store_used(conn, &limits, &choice.limits)?;
        self.start(conn, &choice.take)?;
        if !choice.park.is_empty() {
            sql_query("UPDATE queue_job SET state = 4 WHERE id IN (SELECT value FROM json_each(?1))")
                .bind::<Text, _>(id_list(&choice.park))
                .execute(conn)?;
        }
        for deferral in &choice.defer {
            sql_query("UPDATE queue_job SET state = 2, run_at = ?2 WHERE id = ?1")
                .bind::<BigInt, _>(deferral.job.get())
                .bind::<BigInt, _>(to_micros(deferral.until))
                .execute(conn)?;
        }
        Ok(choice)
    }

    /// Starts jobs that are ready, or placed on this session.
    fn start(&mut self, conn: &mut SqliteConnection, jobs: &[JobId]) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        let token = self.token(conn)?;
        let rows: Vec<JobRow> = sql_query(
            "UPDATE queue_job SET state = 1, session = ?2, claim_token = ?3, claimed_at = ?4 \
             WHERE id IN (SELECT value FROM json_each(?1)) RETURNING *, NULL AS result",
        )
        .bind::<Text, _>(id_list(jobs))
        .bind::<BigInt, _>(self.session.get())
        .bind::<BigInt, _>(token.get())
        .bind::<BigInt, _>(to_micros(self.now))
        .load(conn)?;
        // RETURNING has no order.
        let mut started: HashMap<JobId, Job> = HashMap::with_capacity(rows.len());
        for row in rows {
            let job = Job::try_from(row)?;
            started.insert(job.id, job);
        }
        let lease = |job: JobId| Lease { job, session: self.session, token };
        self.jobs.extend(
            jobs.iter()
                .filter_map(|id| started.remove(id))
                .map(|job| LeasedJob { lease: lease(job.id), job }),
        );
        Ok(())
    }
}

fn next_token(conn: &mut SqliteConnection) -> Result<ClaimToken, Error> {
    let row: Number = sql_query("UPDATE queue_sequence SET token = token + 1 RETURNING token AS number")
        .get_result(conn)?;
    Ok(ClaimToken::new(row.number))
}

/// The lanes of a type that have ready jobs, by id: one seek a lane, however many jobs it has.
fn ready_lanes(conn: &mut SqliteConnection, worker_type: &WorkerType) -> Result<Vec<LaneId>, Error> {
    let rows: Vec<Number> = sql_query(
        "WITH RECURSIVE lanes (lane) AS ( \
           SELECT min(lane) FROM queue_job INDEXED BY queue_job_ready WHERE state = 0 AND worker_type = ?1 \
           UNION ALL \
           SELECT (SELECT min(j.lane) FROM queue_job j INDEXED BY queue_job_ready \
                   WHERE j.state = 0 AND j.worker_type = ?1 AND j.lane > lanes.lane) \
           FROM lanes WHERE lanes.lane IS NOT NULL) \
         SELECT lane AS number FROM lanes WHERE lane IS NOT NULL",
    )
    .bind::<Text, _>(worker_type.as_str())
    .load(conn)?;
    Ok(rows.into_iter().map(|row| LaneId::new(row.number)).collect())
}

fn line(
    conn: &mut SqliteConnection,
    worker_type: &WorkerType,
    lane: LaneId,
    count: usize,
) -> Result<Vec<LaneJob>, Error> {
    let heads: Vec<HeadRow> = sql_query(
        "SELECT id, cost, limit_key FROM queue_job INDEXED BY queue_job_ready \
         WHERE state = 0 AND worker_type = ?1 AND lane = ?2 ORDER BY sort_key, id LIMIT ?3",
    )
    .bind::<Text, _>(worker_type.as_str())
    .bind::<BigInt, _>(lane.get())
    .bind::<BigInt, _>(count as i64)
    .load(conn)?;
    Ok(heads.into_iter().map(HeadRow::job).collect())
}

fn weight(conn: &mut SqliteConnection, lane: LaneId) -> Result<f64, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Double)]
        weight: f64,
    }
    let row: Option<Row> = sql_query("SELECT weight FROM queue_weight WHERE lane = ?1")
        .bind::<BigInt, _>(lane.get())
        .get_result(conn)
        .optional()?;
    Ok(row.map_or(1.0, |row| row.weight))
}

/// Gives ready jobs to sessions.
pub(super) fn place(
    conn: &mut SqliteConnection,
    placements: &[Placement],
    now: SystemTime,
) -> Result<Vec<bool>, Error> {
    let mut token = None;
    let routes = paused(conn)?;
    let mut answers = Vec::with_capacity(placements.len());
    for placement in placements {
        let types = types_of(conn, placement.session)?;
        let job = load_one(conn, placement.job)?.filter(|job| job.state == JobState::Ready);
        let (Some(types), Some(mut job)) = (types, job) else {
            answers.push(false);
            continue;
        };
        let paused = routes.get(job.worker_type.as_str()).is_some_and(|route| route.paused);
        if paused || !types.contains(&job.worker_type) || !admit(conn, &job, now)? {
            answers.push(false);
            continue;
        }
        let token = match token {
            Some(token) => token,
            None => *token.insert(next_token(conn)?),
        };
        job.place(Lease { job: job.id, session: placement.session, token }, now);
        store_one(conn, &job)?;
        answers.push(true);
    }
    Ok(answers)
}

/// Whether the job's limit lets one more start; if so, it counts.
fn admit(conn: &mut SqliteConnection, job: &Job, now: SystemTime) -> Result<bool, Error> {
    let Some(key) = job.limit_key.as_ref().map(LimitKey::hash) else { return Ok(true) };
    let before = limits::load(conn, [key])?;
    let mut after = before.clone();
    match after.get_mut(&key) {
        Some(limit) if limit.admits(now) == crate::Admission::Now => limit.start(now),
        Some(_) => return Ok(false),
        None => {}
    }
    limits::store_used(conn, &before, &after)?;
    Ok(true)
}
