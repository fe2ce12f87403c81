use sha2::{Digest as _, Sha256};

use super::*;
use crate::{ChunkBar, Cut, QuotaPoint, StageBar, Stretch};

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let known = digit <= chunk.len();
            out.push(if known { DIGITS[(word >> (18 - 6 * digit)) as usize & 63] as char } else { '=' });
        }
    }
    out
}

#[test]
fn the_policy_names_the_style_and_the_script_as_they_are() {
    assert_eq!(base64(&Sha256::digest(STYLE)), STYLE_SHA256, "put this into STYLE_SHA256");
    assert_eq!(base64(&Sha256::digest(SCRIPT)), SCRIPT_SHA256, "put this into SCRIPT_SHA256");
}

pub(super) fn report(chunks: usize) -> RunReport {
    let chunk = |index: usize| {
        let (worker, turn) = (index % 16, index / 16);
        let began = turn as f64 * 3.0 + worker as f64 * 0.05;
        let bar = |stage: &str, from: f64, to: f64| StageBar {
            stage: stage.to_owned(),
            began: began + from,
            ended: began + to,
            outcome: "ok".to_owned(),
        };
        let hit = index % 11 == 3;
        let mut stages = vec![bar("permit", 0.0, 0.3), bar("attempt", 0.3, 1.9)];
        if index % 7 == 2 {
            stages.push(bar("retry", 2.0, 2.6));
        }
        stages.push(bar("keep", 2.6, 2.7));
        let stages = if hit { vec![bar("hit", 0.0, 0.1)] } else { stages };
        ChunkBar {
            index: index as u64,
            lane: 0,
            start: index as f64 * 30.0,
            seconds: 30.0,
            began,
            ended: began + if hit { 0.1 } else { 2.8 },
            outcome: if index == 5 { "failed" } else { "done" }.to_owned(),
            stages,
        }
    };
    let seconds = chunks as f64 * 30.0;
    let mut run = Run {
        id: "<script>alert('talk')</script>.wav".to_owned(),
        bytes: 86_400_000,
        audio_seconds: seconds,
        wall_seconds: (chunks / 16 + 1) as f64 * 3.0,
        outcome: "gaps".to_owned(),
        chunks: (0..chunks).map(chunk).collect(),
        stages: Vec::new(),
        envelope: (0..1_000_u32).map(|at| (at * at % 251) as u8).collect(),
        pauses: (0..chunks)
            .map(|at| Stretch { start: at as f64 * 30.0, end: at as f64 * 30.0 + 2.0 })
            .collect(),
        cuts: (1..chunks)
            .map(|at| Cut {
                at: at as f64 * 30.0,
                quality: if at % 9 == 0 { "blind" } else { "pause" }.to_owned(),
            })
            .collect(),
        gaps: vec![Stretch { start: 150.0, end: 180.0 }],
        quota: (0..200)
            .map(|at| QuotaPoint {
                at: f64::from(at) * 0.1,
                dimension: "requests".to_owned(),
                remaining: f64::from(60 - at % 60),
                limit: 60.0,
            })
            .collect(),
        saved_seconds: 270.0,
        saved_microdollars: 27_000,
        transcript: None,
    };
    run.assign_lanes();
    RunReport { runs: vec![run], dropped_spans: 0 }
}

#[test]
fn a_page_has_a_bar_for_each_chunk_and_no_live_markup_from_a_name() {
    let page = render_html(&report(64));
    assert_eq!(page.matches("height=\"13\"").count(), 64);
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert!(page.contains("&lt;script&gt;alert(&#39;talk&#39;)&lt;/script&gt;.wav"));
    assert!(page.contains("\\u003cscript>alert('talk')\\u003c/script>.wav"));
    assert!(!page.contains("http://") && !page.contains("https://"));
}

#[test]
fn ten_thousand_chunks_are_at_most_two_megabytes() {
    let size = render_html(&report(10_000)).len();
    assert!(size <= 2_000_000, "{size} bytes");
}

#[test]
fn a_report_reads_back_from_json_and_an_empty_one_says_so() {
    let report = report(3).with_transcript("nobody", "x");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<RunReport>(&json).unwrap(), report);
    assert!(render_html(&RunReport::default()).contains("Nothing was recorded"));
}

#[test]
fn the_transcript_is_there_only_if_it_was_asked_for() {
    let report = report(1);
    assert!(!render_html(&report).contains("<pre"));
    let id = report.runs[0].id.clone();
    assert!(
        render_html(&report.with_transcript(&id, "a < b"))
            .contains("<pre class=\"transcript\">a &lt; b</pre>")
    );
}

#[test]
fn times_are_said_as_people_do() {
    assert_eq!(
        [span(0.000_05), span(0.25), span(2.5), span(75.0), span(3_720.0)],
        ["50 µs", "250 ms", "2.50 s", "1 min 15 s", "1 h 02 min"]
    );
    assert_eq!(clock(3_725.9), "1:02:05");
}
