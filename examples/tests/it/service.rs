//! The HTTP service as its callers, a scraper and a load balancer meet it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use wavequill::external::testing::ToneScore;
use wavequill_examples::Cli;

use crate::support::speech;

/// The example `service`, which speaks to its built-in simulator; killed at the end.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(more: &[&str]) -> Self {
        let cli = Cli::find_named("service").unwrap();
        let mut child = Command::new(cli.program())
            .args(["--simulate", "--listen", "127.0.0.1:0"])
            .args(more)
            .env_remove("OPENAI_API_KEY")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Self { address: address.to_owned(), child }
    }

    /// Status, headers in lower case, body.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A service that refuses a body need not read it.
        let _refused = stream.write_all(body);
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end..].to_vec())
    }

    fn text(&self, path: &str) -> String {
        let (status, _, body) = self.ask("GET", path, "", b"");
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn wav(seconds: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    speech(seconds).write_wav(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_recording_that_is_uploaded_is_transcribed_and_counted() {
    let service = Service::start(&[]);
    let (status, head, body) = service.ask("POST", "/transcripts?name=tones.wav", "", &wav(20));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert!(head.contains("content-type: application/json"), "{head}");
    let transcript: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let score = ToneScore::of_text(speech(20).truth(), transcript["text"].as_str().unwrap());
    assert_eq!(score.errors(), 0, "{score:?}");

    let page = service.text("/metrics");
    assert!(page.contains("wavequill_processing_files_total{format=\"wav\",outcome=\"done\"} 1"), "{page}");
    let health: serde_json::Value = serde_json::from_str(&service.text("/health")).unwrap();
    assert_eq!(health["healthy"], true);
    assert_eq!(health["alerts"], serde_json::json!([]));
    let live = service.text("/");
    assert!(live.contains("No alert fires.") && live.contains("waiting for quota"), "{live}");

    let (status, _, srt) = service.ask("POST", "/transcripts?format=srt", "", &wav(20));
    assert_eq!(status, 200);
    assert!(srt.starts_with(b"1\n"), "{}", String::from_utf8_lossy(&srt));
}

#[test]
fn a_scraper_gets_the_format_that_it_likes_best() {
    let service = Service::start(&[]);
    let accepted = |accept: &str| service.ask("GET", "/metrics", &format!("accept: {accept}\r\n"), b"");
    let (_, head, body) = accepted("text/plain");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.starts_with(b"# HELP"), "a page");
    let (_, head, body) = accepted("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    assert!(body.ends_with(b"# EOF\n"), "an end");
    let native = "application/vnd.google.protobuf;proto=io.prometheus.client.metricfamily;encoding=delimited,text/plain;q=0.3";
    let (_, head, _) = accepted(native);
    assert!(head.contains("content-type: application/vnd.google.protobuf"), "{head}");
}

#[test]
fn what_cannot_be_answered_says_why() {
    let service = Service::start(&["--max-upload-bytes", "1000"]);
    let said = |method: &str, path: &str, body: &[u8]| {
        let (status, _, body) = service.ask(method, path, "", body);
        (status, String::from_utf8(body).unwrap())
    };
    let (status, text) = said("GET", "/nowhere", b"");
    assert!(status == 404 && text.contains("/transcripts"), "{status} {text}");
    let (status, text) = said("GET", "/transcripts", b"");
    assert!(status == 405 && text.contains("POST"), "{status} {text}");
    let (status, text) = said("POST", "/transcripts?format=doc", b"x");
    assert!(status == 400 && text.contains("srt"), "{status} {text}");
    let (status, text) = said("POST", "/transcripts", &[0; 1001]);
    assert!(status == 413 && text.contains("1000 bytes"), "{status} {text}");
    let (status, text) = said("POST", "/transcripts?name=notes.txt", b"no audio at all");
    assert!(status == 422 && text.contains("notes.txt"), "{status} {text}");
    assert!(service.child.id() > 0 && service.text("/health").contains("true"), "it goes on");
}
