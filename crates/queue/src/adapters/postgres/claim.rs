//! Claims: the first in line, or tenants in turn. No claim waits for another's jobs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::{Error, OptionalExtension};
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{
    Array, BigInt, Bool, Double, Integer, Nullable, Text,
};
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::limits;
use super::rows::{JobRow, Number, ids, job_columns, lock, now, numbers, store_one};
use super::statement::prepared;
use crate::adapters::fair::{FairState, MAX_ROUNDS, heads_per_lane};
use crate::adapters::rows::damaged;
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

/// What a claim that is one statement came to.
pub(super) enum First {
    Claimed(Claimed),
    /// The session has ended.
    Fenced,
    /// A route is shared: it takes a transaction.
    Shared,
}

/// Takes the first in line of routes that nobody shares, by one statement.
pub(super) async fn claim_first(
    conn: &mut AsyncPgConnection,
    request: &ClaimRequest,
    turns: &Arc<Mutex<Turns>>,
) -> Result<First, Error> {
    const CLAIM: &str =
        concat!("SELECT ", job_columns!(), ", NULL::text AS result FROM queue_claim(?, ?, ?)");
    let turn = {
        let mut turns = turns.lock();
        turns.claims = turns.claims.wrapping_add(1);
        (turns.claims % 1_000_000) as i32
    };
    let mut rows: Vec<JobRow> = prepared(CLAIM)
        .bind::<BigInt, _>(request.session.get())
        .bind::<Integer, _>(i32::try_from(request.free.0).unwrap_or(i32::MAX))
        .bind::<Integer, _>(turn)
        .load(conn)
        .await?;
    let note = rows.pop().filter(|row| row.id == 0).ok_or_else(|| damaged("a claim without its last row"))?;
    match note.state {
        1 => return Ok(First::Fenced),
        2 => return Ok(First::Shared),
        _ => {}
    }
    let mut jobs = rows.into_iter().map(Job::try_from).collect::<Result<Vec<_>, _>>()?;
    // RETURNING has no order.
    for line in jobs.chunk_by_mut(|a, b| a.worker_type == b.worker_type) {
        line.sort_unstable_by_key(|job| (job.sort_key, job.id));
    }
    let leased = |job: Job| job.lease.map(|lease| LeasedJob { job, lease });
    Ok(First::Claimed(Claimed {
        jobs: jobs.into_iter().filter_map(leased).collect(),
        next_due: (note.run_at >= 0).then(|| Duration::from_micros(note.run_at.unsigned_abs())),
    }))
}

/// `None` if the session has ended.
pub(super) async fn claim(
    conn: &mut AsyncPgConnection,
    request: &ClaimRequest,
    turns: &Arc<Mutex<Turns>>,
    policies: &Policies,
) -> Result<Option<Claimed>, Error> {
    let now = now(conn).await?;
    // Until this transaction ends, nobody declares the session dead.
    let Some(mut types) = lock_session(conn, request.session).await? else { return Ok(None) };
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    {
        let mut turns = turns.lock();
        turns.claims = turns.claims.wrapping_add(1);
        let turn = turns.claims.checked_rem(types.len()).unwrap_or(0);
        types.rotate_left(turn);
    }
    promote(conn, now, 1_000).await?;
    let free = request.free.0 as usize;
    let routes = routes(conn).await?;
    let mut claim = Claim { session: request.session, token: None, now, policies, routes, jobs: Vec::new() };
    claim.take_up_placed(conn, free).await?;
    if let Some(only) = &request.only {
        claim.take_listed(conn, only, &names, free).await?;
    } else {
        for worker_type in &types {
            claim.take_in_turn(conn, turns, worker_type, free).await?;
        }
    }
    let mut next_due = None;
    if claim.jobs.len() < free {
        let due: Option<Number> = sql_query(
            "SELECT run_at AS number FROM queue_job WHERE state = 2 AND worker_type = ANY($1) \
             ORDER BY run_at LIMIT 1",
        )
        .bind::<Array<Text>, _>(names)
        .get_result(conn)
        .await
        .optional()?;
        next_due = due.map(|due| from_micros(due.number).duration_since(now).unwrap_or(Duration::ZERO));
    }
    Ok(Some(Claimed { jobs: claim.jobs, next_due }))
}

/// Scheduled jobs that are due stand in line; answers how many.
pub(super) async fn promote(
    conn: &mut AsyncPgConnection,
    now: SystemTime,
    budget: u32,
) -> Result<u32, Error> {
    let promoted = sql_query(
        "UPDATE queue_job SET state = 0 WHERE id = ANY(ARRAY(SELECT id FROM queue_job \
         WHERE state = 2 AND run_at <= $1 ORDER BY run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED))",
    )
    .bind::<BigInt, _>(to_micros(now))
    .bind::<BigInt, _>(i64::from(budget))
    .execute(conn)
    .await?;
    Ok(promoted as u32)
}

#[derive(QueryableByName)]
struct TypesRow {
    #[diesel(sql_type = Array<Text>)]
    types: Vec<String>,
}

/// The types of a live session, which cannot be declared dead until the transaction ends.
async fn lock_session(
    conn: &mut AsyncPgConnection,
    session: SessionId,
) -> Result<Option<Vec<WorkerType>>, Error> {
    let row: Option<TypesRow> =
        sql_query("SELECT types FROM queue_session WHERE id = $1 AND NOT fenced FOR KEY SHARE")
            .bind::<BigInt, _>(session.get())
            .get_result(conn)
            .await
            .optional()?;
    let parse =
        |row: TypesRow| row.types.into_iter().map(WorkerType::new).collect::<Result<_, _>>().map_err(damaged);
    row.map(parse).transpose()
}

#[derive(QueryableByName)]
struct RouteRow {
    #[diesel(sql_type = Text)]
    worker_type: String,
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Bool)]
    fair: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Route {
    paused: bool,
    fair: bool,
}

async fn routes(conn: &mut AsyncPgConnection) -> Result<HashMap<String, Route>, Error> {
    let rows: Vec<RouteRow> =
        sql_query("SELECT worker_type, paused, fair FROM queue_route").load(conn).await?;
    let route = |row: RouteRow| (row.worker_type, Route { paused: row.paused, fair: row.fair });
    Ok(rows.into_iter().map(route).collect())
}

const START: &str = concat!(
    "UPDATE queue_job SET state = 1, session = $2, claim_token = $3, claimed_at = $4 \
     WHERE id = ANY($1) RETURNING ",
    job_columns!(),
    ", NULL::text AS result"
);

struct Claim<'a> {
    session: SessionId,
    token: Option<ClaimToken>,
    now: SystemTime,
    policies: &'a Policies,
    routes: HashMap<String, Route>,
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
        self.routes.get(worker_type.as_str()).copied().unwrap_or_default()
    }

    async fn token(&mut self, conn: &mut AsyncPgConnection) -> Result<ClaimToken, Error> {
        if let Some(token) = self.token {
            return Ok(token);
        }
        let token = next_token(conn).await?;
        self.token = Some(token);
        Ok(token)
    }

    async fn take_up_placed(&mut self, conn: &mut AsyncPgConnection, free: usize) -> Result<(), Error> {
        let placed: Vec<Number> = sql_query(
            "SELECT id AS number FROM queue_job WHERE session = $1 AND state = 5 \
             ORDER BY sort_key, id LIMIT $2 FOR UPDATE SKIP LOCKED",
        )
        .bind::<BigInt, _>(self.session.get())
        .bind::<BigInt, _>(free as i64)
        .load(conn)
        .await?;
        self.start(conn, &ids(placed)).await
    }

    async fn take_listed(
        &mut self,
        conn: &mut AsyncPgConnection,
        only: &[JobId],
        types: &[String],
        free: usize,
    ) -> Result<(), Error> {
        let heads: Vec<HeadRow> = sql_query(
            "SELECT id, cost, limit_key FROM queue_job WHERE id = ANY($1) AND state = 0 \
             AND worker_type = ANY($2) \
             AND worker_type <> ALL(ARRAY(SELECT worker_type FROM queue_route WHERE paused)) \
             ORDER BY sort_key, id FOR UPDATE SKIP LOCKED",
        )
        .bind::<Array<BigInt>, _>(numbers(only))
        .bind::<Array<Text>, _>(types.to_vec())
        .load(conn)
        .await?;
        let jobs = heads.into_iter().map(HeadRow::job).collect();
        let lanes = [Lane { id: LaneId::NONE, weight: 1.0, deficit: 0.0, jobs, complete: true }];
        let wanted = free.saturating_sub(self.jobs.len());
        self.round(conn, &lanes, false, wanted).await.map(drop)
    }

    async fn take_in_turn(
        &mut self,
        conn: &mut AsyncPgConnection,
        turns: &Arc<Mutex<Turns>>,
        worker_type: &WorkerType,
        free: usize,
    ) -> Result<(), Error> {
        let route = self.route(worker_type);
        let wanted = free.saturating_sub(self.jobs.len());
        if route.paused || wanted == 0 {
            return Ok(());
        }
        if !route.fair {
            return self.take_first(conn, worker_type, wanted).await;
        }
        for _ in 0..MAX_ROUNDS {
            let all = ready_lanes(conn, worker_type).await?;
            let wanted = free.saturating_sub(self.jobs.len());
            if all.is_empty() || wanted == 0 {
                return Ok(());
            }
            let (order, resumed, deficits) = {
                let mut turns = turns.lock();
                let fair = turns.fair.entry(worker_type.clone()).or_default();
                let order = fair.order(&all);
                let resumed = order.as_slice().first().is_some_and(|first| fair.resumes(*first));
                let deficits: Vec<f64> = order.iter().map(|lane| fair.deficit(*lane)).collect();
                (order, resumed, deficits)
            };
            let heads = heads_per_lane(wanted, order.len());
            let mut lanes = Vec::with_capacity(order.len());
            for (id, deficit) in order.into_iter().zip(deficits) {
                let mut jobs = line(conn, worker_type, id, heads + 1).await?;
                let complete = jobs.len() <= heads;
                jobs.truncate(heads);
                lanes.push(Lane { id, weight: weight(conn, id).await?, deficit, jobs, complete });
            }
            let choice = self.round(conn, &lanes, resumed, wanted).await?;
            turns.lock().fair.entry(worker_type.clone()).or_default().apply(&choice, &all);
            if choice.take.is_empty() && choice.park.is_empty() && choice.defer.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nobody shares this route: the first in line that no other claim has locked.
    async fn take_first(
        &mut self,
        conn: &mut AsyncPgConnection,
        worker_type: &WorkerType,
        wanted: usize,
    ) -> Result<(), Error> {
        let first: Vec<Number> = sql_query(
            "SELECT id AS number FROM queue_job WHERE state = 0 AND worker_type = $1 AND lane = 0 \
             AND limit_key IS NULL ORDER BY sort_key, id LIMIT $2 FOR UPDATE SKIP LOCKED",
        )
        .bind::<Text, _>(worker_type.as_str())
        .bind::<BigInt, _>(wanted as i64)
        .load(conn)
        .await?;
        self.start(conn, &ids(first)).await
    }

    async fn round(
        &mut self,
        conn: &mut AsyncPgConnection,
        lanes: &[Lane],
        resumed: bool,
        wanted: usize,
    ) -> Result<ClaimChoice, Error> {
        let keys: Vec<i64> = lanes.iter().flat_map(|lane| &lane.jobs).filter_map(|job| job.limit).collect();
        let limits = limits::lock(conn, keys).await?;
        let round = ClaimRound { now: self.now, wanted, lanes, resumed, limits: &limits };
        let choice = self.policies.priority.choose(&round);
        limits::store_used(conn, &limits, &choice.limits).await?;
        self.start(conn, &choice.take).await?;
        if !choice.park.is_empty() {
            sql_query("UPDATE queue_job SET state = 4 WHERE id = ANY($1)")
                .bind::<Array<BigInt>, _>(numbers(&choice.park))
                .execute(conn)
                .await?;
        }
        for deferral in &choice.defer {
            sql_query("UPDATE queue_job SET state = 2, run_at = $2 WHERE id = $1")
                .bind::<BigInt, _>(deferral.job.get())
                .bind::<BigInt, _>(to_micros(deferral.until))
                .execute(conn)
                .await?;
        }
        Ok(choice)
    }

    /// Starts jobs that this transaction has locked.
    async fn start(&mut self, conn: &mut AsyncPgConnection, jobs: &[JobId]) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        let token = self.token(conn).await?;
        let rows: Vec<JobRow> = sql_query(START)
            .bind::<Array<BigInt>, _>(numbers(jobs))
            .bind::<BigInt, _>(self.session.get())
            .bind::<BigInt, _>(token.get())
            .bind::<BigInt, _>(to_micros(self.now))
            .load(conn)
            .await?;
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

async fn next_token(conn: &mut AsyncPgConnection) -> Result<ClaimToken, Error> {
    let row: Number = sql_query("SELECT nextval('queue_token') AS number").get_result(conn).await?;
    Ok(ClaimToken::new(row.number))
}

/// The lanes of a type that have ready jobs, by id: one seek a lane, however many jobs it has.
async fn ready_lanes(conn: &mut AsyncPgConnection, worker_type: &WorkerType) -> Result<Vec<LaneId>, Error> {
    let rows: Vec<Number> = sql_query(
        "WITH RECURSIVE lanes AS ( \
           (SELECT lane FROM queue_job WHERE state = 0 AND worker_type = $1 ORDER BY lane LIMIT 1) \
           UNION ALL \
           SELECT (SELECT j.lane FROM queue_job j WHERE j.state = 0 AND j.worker_type = $1 \
                   AND j.lane > lanes.lane ORDER BY j.lane LIMIT 1) \
           FROM lanes WHERE lanes.lane IS NOT NULL) \
         SELECT lane AS number FROM lanes WHERE lane IS NOT NULL",
    )
    .bind::<Text, _>(worker_type.as_str())
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| LaneId::new(row.number)).collect())
}

async fn line(
    conn: &mut AsyncPgConnection,
    worker_type: &WorkerType,
    lane: LaneId,
    count: usize,
) -> Result<Vec<LaneJob>, Error> {
    let heads: Vec<HeadRow> = sql_query(
        "SELECT id, cost, limit_key FROM queue_job WHERE state = 0 AND worker_type = $1 AND lane = $2 \
         ORDER BY sort_key, id LIMIT $3 FOR UPDATE SKIP LOCKED",
    )
    .bind::<Text, _>(worker_type.as_str())
    .bind::<BigInt, _>(lane.get())
    .bind::<BigInt, _>(count as i64)
    .load(conn)
    .await?;
    Ok(heads.into_iter().map(HeadRow::job).collect())
}

#[derive(QueryableByName)]
struct WeightRow {
    #[diesel(sql_type = Double)]
    weight: f64,
}

async fn weight(conn: &mut AsyncPgConnection, lane: LaneId) -> Result<f64, Error> {
    let row: Option<WeightRow> = sql_query("SELECT weight FROM queue_weight WHERE lane = $1")
        .bind::<BigInt, _>(lane.get())
        .get_result(conn)
        .await
        .optional()?;
    Ok(row.map_or(1.0, |row| row.weight))
}

/// Gives ready jobs to sessions.
pub(super) async fn place(
    conn: &mut AsyncPgConnection,
    placements: &[Placement],
) -> Result<Vec<bool>, Error> {
    let now = now(conn).await?;
    let mut token = None;
    let routes = routes(conn).await?;
    let mut answers = Vec::with_capacity(placements.len());
    for placement in placements {
        let types = lock_session(conn, placement.session).await?;
        let job = lock(conn, placement.job).await?.filter(|job| job.state == JobState::Ready);
        let (Some(types), Some(mut job)) = (types, job) else {
            answers.push(false);
            continue;
        };
        let paused = routes.get(job.worker_type.as_str()).is_some_and(|route| route.paused);
        if paused || !types.contains(&job.worker_type) || !admit(conn, &job, now).await? {
            answers.push(false);
            continue;
        }
        let token = match token {
            Some(token) => token,
            None => *token.insert(next_token(conn).await?),
        };
        job.place(Lease { job: job.id, session: placement.session, token }, now);
        store_one(conn, &job).await?;
        answers.push(true);
    }
    Ok(answers)
}

/// Whether the job's limit lets one more start; if so, it counts.
async fn admit(conn: &mut AsyncPgConnection, job: &Job, now: SystemTime) -> Result<bool, Error> {
    let Some(key) = job.limit_key.as_ref().map(LimitKey::hash) else { return Ok(true) };
    let before = limits::lock(conn, [key]).await?;
    let mut after = before.clone();
    match after.get_mut(&key) {
        Some(limit) if limit.admits(now) == crate::Admission::Now => limit.start(now),
        Some(_) => return Ok(false),
        None => {}
    }
    limits::store_used(conn, &before, &after).await?;
    Ok(true)
}
