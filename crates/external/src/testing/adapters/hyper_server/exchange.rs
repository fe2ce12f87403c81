//! One request: reads it, asks the rules, does what they say.

use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Connection;
use super::scripted_body::{ScriptedBody, Then};
use crate::testing::speech_api_simulator::FormReader;
use crate::testing::{Action, Begun, Ending, HeardAudio, RequestId, Upload};

/// Tells the rules when a request has ended, however it does.
struct Flight {
    connection: Arc<Connection>,
    id: RequestId,
    bytes: u64,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let shared = &self.connection.shared;
        let now = shared.now();
        shared.api.lock().end(now, self.id, self.bytes);
    }
}

pub(super) async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> io::Result<Response<ScriptedBody>> {
    connection.count_request();
    let (head, body) = request.into_parts();
    let head = Request::from_parts(head, ());
    let shared = Arc::clone(&connection.shared);
    let now = shared.now();
    let begun = shared.api.lock().begin(now, &head);
    match begun {
        Begun::Answer(actions) => act(&connection, actions).await,
        Begun::Read { id, at_most } => {
            let mut flight = Flight { connection: Arc::clone(&connection), id, bytes: 0 };
            let upload = read(&mut flight, &head, body, at_most).await?;
            let now = shared.now();
            let actions = shared.api.lock().finish(now, id, &upload);
            act(&connection, actions).await
        }
    }
}

/// Reads the body. If the client ends it early, so does the request.
async fn read(
    flight: &mut Flight,
    head: &Request<()>,
    mut body: Incoming,
    at_most: u64,
) -> io::Result<Upload> {
    let content_type = head.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut form = FormReader::new(content_type.unwrap_or_default());
    while flight.bytes < at_most {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(io::Error::other)?;
        let Ok(data) = frame.into_data() else { continue };
        flight.bytes += data.len() as u64;
        form = form.and_then(|mut form| form.push(&data).map(|()| form));
    }
    let bytes = flight.bytes;
    let (form, file) = match form.and_then(FormReader::finish) {
        Ok(read) => read,
        Err(why) => return Ok(Upload::unreadable(bytes, why)),
    };
    let decoders = flight.connection.shared.api.lock().decoders();
    let audio = off_thread(move || file.hear(&decoders)).await;
    Ok(Upload { bytes, form: Ok(form), audio })
}

/// Decodes where it does not hold up others.
async fn off_thread(
    hear: impl FnOnce() -> Result<HeardAudio, String> + Send + 'static,
) -> Result<HeardAudio, String> {
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking(hear);
    match tasks.join_next().await {
        Some(Ok(heard)) => heard,
        Some(Err(failed)) => Err(format!("the decoder failed: {failed}")),
        None => Err("the decoder did not run".into()),
    }
}

async fn act(connection: &Connection, actions: Vec<Action>) -> io::Result<Response<ScriptedBody>> {
    let mut next = Instant::now();
    for action in actions {
        match action {
            Action::Wait(time) => {
                next += time;
                tokio::time::sleep_until(next).await;
            }
            Action::Respond(response) => return Ok(response.map(ScriptedBody::whole)),
            Action::RespondInPart { response, sent, then } => {
                let then = match then {
                    Ending::Disconnect => Then::Disconnect,
                    Ending::Stall => Then::Stall,
                };
                return Ok(response.map(|whole: Bytes| {
                    let promised = whole.len() as u64;
                    ScriptedBody::new(whole.slice(..sent.min(whole.len())), then, promised)
                }));
            }
            Action::RespondPadded { mut response, blanks } => {
                let promised = response.body().len() as u64 + blanks;
                response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
                return Ok(response.map(|bytes| ScriptedBody::new(bytes, Then::Blanks(blanks), promised)));
            }
            Action::Disconnect => connection.kill.notify_one(),
            Action::Stall => {}
        }
    }
    // The connection ends, by its client or just now.
    pending().await
}
