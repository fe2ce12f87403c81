//! The course of a request: its head, its body, its end. Pure: time is given, chance has a seed.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};

use super::SpeechApiSimulator;
use super::action::{Action, Begun, RequestId, Upload};
use super::answers;
use super::audio::HeardAudio;
use super::faults::Fault;
use super::refusals::{self, Damage, Refusal, set_headers};
use super::report::{Outcome, RequestRecord, SimulatorReport};
use super::settings::{QuotaHeaders, Refusals, SimulatedModel};

/// A request between its head and its end.
#[derive(Debug)]
pub(crate) struct Flight {
    fault: Option<Fault>,
    refusal: Option<Refusal>,
    quota_headers: Vec<(&'static str, String)>,
    end: Option<FlightEnd>,
}

/// How a flight will end, once that is known.
#[derive(Debug)]
struct FlightEnd {
    /// `None` if only the client ends it.
    at: Option<Duration>,
    outcome: Outcome,
    status: Option<StatusCode>,
    billed: Option<HeardAudio>,
}

impl SpeechApiSimulator {
    /// What is done about a whole request that comes at `now`, counted from the simulator's start: its head and
    /// its body at once.
    ///
    /// Times must not fall from call to call.
    pub fn answer(&mut self, now: Duration, head: &Request<()>, upload: &Upload) -> Vec<Action> {
        match self.begin(now, head) {
            Begun::Answer(actions) => actions,
            Begun::Read { id, .. } => self.finish(now, id, upload),
        }
    }

    /// What is done about the head of a request.
    pub fn begin(&mut self, now: Duration, head: &Request<()>) -> Begun {
        self.land(now);
        if (head.method(), head.uri().path()) != (&Method::POST, "/v1/audio/transcriptions") {
            let response = match self.refuse_head(head) {
                Some(refusal) => refusal.response,
                None => answers::models(self.models.iter().map(SimulatedModel::name)),
            };
            return Begun::Answer(vec![Action::Respond(response)]);
        }
        let number = self.report.log.len() as u64;
        let header = |name: &str| head.headers().get(name).and_then(|value| value.to_str().ok());
        let declared: u64 = header("content-length").and_then(|value| value.parse().ok()).unwrap_or_default();
        self.report.log.push(RequestRecord {
            number,
            started: now,
            ended: None,
            protocol: head.version(),
            model: None,
            audio: Duration::ZERO,
            bytes: 0,
            status: None,
            outcome: None,
            idempotency_key: header("idempotency-key").map(str::to_owned),
            billed: Duration::ZERO,
            billed_twice: Duration::ZERO,
        });
        let fault = self.faults.of(number - self.faults_since, &mut self.random);
        let in_flight = self.flights.len() as u64 + 1;
        self.report.peak_in_flight = self.report.peak_in_flight.max(in_flight);
        self.quotas.set_in_flight(in_flight);
        let refusal = self.refuse_head(head).or_else(|| self.charge_head(now, declared));
        let quota_headers = self.quotas.headers(now, self.quota_headers);
        self.flights.insert(number, Flight { fault, refusal, quota_headers, end: None });
        self.begun(now, number, declared)
    }

    fn begun(&mut self, now: Duration, number: u64, declared: u64) -> Begun {
        let id = RequestId(number);
        let Some(flight) = self.flights.get_mut(&number) else { return Begun::Answer(Vec::new()) };
        let mut at_most = self.body_limit.saturating_add(1);
        match &flight.fault {
            Some(fault @ (Fault::Early(_) | Fault::DropBeforeUpload)) => {
                let fault = fault.clone();
                return Begun::Answer(self.fail(now, number, &fault));
            }
            Some(Fault::DropDuringUpload(bytes)) => at_most = *bytes,
            _ => {}
        }
        if self.refusals == Refusals::BeforeUpload {
            let too_large = || refusals::too_large(self.body_limit, declared);
            let refusal = flight.refusal.take().or_else(|| (declared > self.body_limit).then(too_large));
            if let Some(refusal) = refusal {
                return Begun::Answer(self.refuse(now, number, refusal));
            }
        }
        Begun::Read { id, at_most }
    }

    /// What is done once the body of a request has been read, to its end or as far as
    /// [`begin`](Self::begin) said.
    pub fn finish(&mut self, now: Duration, id: RequestId, upload: &Upload) -> Vec<Action> {
        self.land(now);
        let RequestId(number) = id;
        let Some(flight) = self.flights.get_mut(&number) else { return Vec::new() };
        let (fault, refusal) = (flight.fault.take(), flight.refusal.take());
        if let Some(record) = self.report.log.get_mut(number as usize) {
            record.bytes = upload.bytes;
            record.model = upload.form.as_ref().ok().and_then(|form| form.model.clone());
            record.audio = upload.audio.as_ref().map(|audio| audio.duration).unwrap_or_default();
        }
        if let Some(fault @ Fault::DropDuringUpload(_)) = &fault {
            return self.fail(now, number, fault);
        }
        let refusal = refusal.or_else(|| {
            (upload.bytes > self.body_limit).then(|| refusals::too_large(self.body_limit, upload.bytes))
        });
        if let Some(refusal) = refusal {
            return self.refuse(now, number, refusal);
        }
        let damage = fault.as_ref().map(|fault| self.damage(now, fault));
        let fault = match damage {
            None => None,
            Some(Damage::Answer(fault)) => Some(fault),
            Some(Damage::Refused(refusal)) => return self.refuse(now, number, refusal),
            Some(Damage::Silence(action, outcome)) => return self.hush(now, number, action, outcome),
        };
        match self.transcribe(now, upload) {
            Ok((response, audio)) => self.grant(now, number, fault.as_ref(), response, audio),
            Err(refusal) => self.refuse(now, number, *refusal),
        }
    }

    /// The request has ended for the client: it has its answer, or it gave up. `bytes` of its body had been read.
    /// Whoever uses [`answer`](Self::answer) alone need not call this: a flight ends when its waits are over.
    pub fn end(&mut self, now: Duration, id: RequestId, bytes: u64) {
        self.land(now);
        let RequestId(number) = id;
        let Some(flight) = self.flights.remove(&number) else { return };
        let Some(record) = self.report.log.get_mut(number as usize) else { return };
        record.ended = Some(now);
        record.bytes = record.bytes.max(bytes);
        // An end that was to come later has not come: the answer was not sent.
        if let Some(end) = flight.end.filter(|end| end.at.is_none()) {
            record.outcome = Some(end.outcome);
        } else {
            (record.outcome, record.status) = (Some(Outcome::Cancelled), None);
        }
    }

    /// What was seen until `now`.
    pub fn report(&mut self, now: Duration) -> SimulatorReport {
        self.land(now);
        let mut report = self.report.clone();
        report.in_flight = self.flights.len() as u64;
        report.sum_up();
        report
    }

    /// Reads the form and hears the audio.
    fn transcribe(
        &mut self,
        now: Duration,
        upload: &Upload,
    ) -> Result<(Response<Bytes>, HeardAudio), Box<Refusal>> {
        let form = upload.form.as_ref().map_err(|why| Box::new(refusals::unreadable_form(why)))?;
        if let Some(refusal) = self.refuse_form(form) {
            return Err(Box::new(refusal));
        }
        let audio = upload.audio.as_ref().map_err(|_| Box::new(refusals::undecodable()))?;
        let refusal = self.refuse_duration(audio.duration).or_else(|| self.charge_audio(now, audio.duration));
        match refusal {
            Some(refusal) => Err(Box::new(refusal)),
            None => Ok((answers::transcript(form, audio), audio.clone())),
        }
    }

    fn grant(
        &mut self,
        now: Duration,
        number: u64,
        fault: Option<&Fault>,
        mut response: Response<Bytes>,
        audio: HeardAudio,
    ) -> Vec<Action> {
        let wait = self.latency.of(audio.duration, &mut self.random);
        let status = response.status();
        self.dress(now + wait, number, &mut response, wait);
        let (action, outcome) = match fault {
            Some(fault) => refusals::damaged(fault, response),
            None => (Action::Respond(response), Outcome::Granted),
        };
        let status = (outcome != Outcome::Dropped).then_some(status);
        self.plan(number, FlightEnd { at: Some(now + wait), outcome, status, billed: Some(audio) });
        self.land(now);
        if wait.is_zero() { vec![action] } else { vec![Action::Wait(wait), action] }
    }

    fn refuse(&mut self, now: Duration, number: u64, refusal: Refusal) -> Vec<Action> {
        let Refusal { mut response, outcome } = refusal;
        self.dress(now, number, &mut response, Duration::ZERO);
        let status = Some(response.status());
        self.plan(number, FlightEnd { at: Some(now), outcome, status, billed: None });
        self.land(now);
        vec![Action::Respond(response)]
    }

    fn fail(&mut self, now: Duration, number: u64, fault: &Fault) -> Vec<Action> {
        match self.damage(now, fault) {
            Damage::Refused(refusal) => self.refuse(now, number, refusal),
            Damage::Silence(action, outcome) => self.hush(now, number, action, outcome),
            Damage::Answer(_) => self.hush(now, number, Action::Disconnect, Outcome::Dropped),
        }
    }

    fn hush(&mut self, now: Duration, number: u64, action: Action, outcome: Outcome) -> Vec<Action> {
        let at = (outcome == Outcome::Dropped).then_some(now);
        self.plan(number, FlightEnd { at, outcome, status: None, billed: None });
        self.land(now);
        vec![action]
    }

    /// The headers that all answers have.
    fn dress(&mut self, now: Duration, number: u64, response: &mut Response<Bytes>, took: Duration) {
        let mut headers = match self.quota_headers {
            QuotaHeaders::OpenAiAtEnd => self.quotas.headers(now, QuotaHeaders::OpenAi),
            _ => self.flights.get(&number).map(|flight| flight.quota_headers.clone()).unwrap_or_default(),
        };
        // A refusal may tell its own time.
        headers.retain(|(name, _)| !response.headers().contains_key(*name));
        headers.push(("x-request-id", format!("req_{:016x}{number:016x}", self.random.next_u64())));
        headers.push(("openai-processing-ms", took.as_millis().to_string()));
        headers.push(("openai-version", "2020-10-01".into()));
        set_headers(response, headers);
        let length = response.body().len();
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }

    fn plan(&mut self, number: u64, end: FlightEnd) {
        if let Some(record) = self.report.log.get_mut(number as usize) {
            record.status = end.status;
        }
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.end = Some(end);
        }
    }

    /// Ends the flights whose end has come, in its order.
    fn land(&mut self, now: Duration) {
        let at = |flight: &Flight| flight.end.as_ref().and_then(|end| end.at).filter(|at| *at <= now);
        let mut landed: Vec<(Duration, u64)> =
            self.flights.iter().filter_map(|(number, flight)| Some((at(flight)?, *number))).collect();
        landed.sort_unstable();
        for (at, number) in landed {
            let end = self.flights.remove(&number).and_then(|flight| flight.end);
            let (Some(end), Some(record)) = (end, self.report.log.get_mut(number as usize)) else { continue };
            record.ended = Some(at);
            record.outcome = Some(end.outcome);
            if let Some(audio) = end.billed {
                record.billed = audio.duration;
                record.billed_twice = self.billed.bill(&audio);
            }
        }
    }
}
