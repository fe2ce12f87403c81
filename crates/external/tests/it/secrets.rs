//! What must never be seen.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;
use wavequill_external::{Http2Use, HttpSpeechApi, SpeechApi};

use crate::server::{H2Script, Reply, Server};
use crate::{config, request};

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const MARKERS: [&str; 3] = ["marker-key", "marker-prompt", "marker-text"];

#[tokio::test]
async fn key_prompt_and_text_are_found_nowhere_even_at_trace_level() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let text = r#"{"text":"marker-text","words":[{"word":"marker-text","start":0,"end":1}]}"#;
    let refused = r#"{"detail":[{"loc":["body","prompt"],"msg":"bad","input":"marker-prompt"}]}"#;
    let http1 = Server::http1(move |number| match number {
        0 => Reply::ok(text),
        1 => Reply::json("422 Unprocessable Entity", "", refused),
        _ => Reply::json(
            "401 Unauthorized",
            "",
            r#"{"error":{"message":"Bearer sk-marker-key-0123456789 is bad"}}"#,
        ),
    })
    .await;
    let http2 = Server::http2(H2Script::default()).await;
    let mut shown = Vec::new();
    for (url, http2) in [(&http1.url, Http2Use::Negotiated), (&http2.url, Http2Use::PriorKnowledge)] {
        let mut config = config(url);
        config.hyper.http2 = http2;
        shown.push(format!("{config:?}"));
        let api = HttpSpeechApi::over_hyper(config).unwrap();
        for _ in 0..3 {
            let asked = request(1000).with_prompt("marker-prompt");
            shown.push(format!("{asked:?}"));
            match api.transcribe(asked).await {
                Ok(answer) => shown.push(format!("{answer:?}")),
                Err(error) => shown.push(format!("{error:?} {error}")),
            }
        }
        shown.push(format!("{api:?}"));
    }
    drop(guard);
    shown.push(String::from_utf8_lossy(&log.0.lock()).into_owned());
    let shown = shown.concat();
    assert!(shown.contains("TRACE") && shown.contains("h2::"), "the log is of trace level, the drivers' too");
    for marker in MARKERS {
        assert!(
            !shown.contains(marker),
            "{marker} in {:?}",
            shown.find(marker).map(|at| &shown[at - 200..at + 40])
        );
    }
}
