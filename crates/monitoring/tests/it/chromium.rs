//! The run report in a real browser: every chunk is drawn, nothing is asked for, nothing from a name runs.

use std::process::Command;

use wavequill_monitoring::{ChunkBar, Cut, QuotaPoint, Run, RunReport, StageBar, Stretch, render_html};

fn report(chunks: u32) -> RunReport {
    let chunk = |index: u32| {
        let began = f64::from(index / 8) * 3.0 + f64::from(index % 8) * 0.07;
        let bar = |stage: &str, from: f64, to: f64| StageBar {
            stage: stage.to_owned(),
            began: began + from,
            ended: began + to,
            outcome: "ok".to_owned(),
        };
        let mut stages = vec![bar("permit", 0.0, 0.4), bar("attempt", 0.4, 1.9), bar("keep", 2.6, 2.8)];
        if index % 5 == 2 {
            stages.push(bar("retry", 1.9, 2.6));
        }
        ChunkBar {
            index: u64::from(index),
            lane: index as usize % 8,
            start: f64::from(index) * 30.0,
            seconds: 30.0,
            began,
            ended: began + 2.8,
            outcome: if index == 7 { "failed" } else { "done" }.to_owned(),
            stages: if index % 6 == 4 { vec![bar("hit", 0.0, 2.8)] } else { stages },
        }
    };
    let run = Run {
        id: "<script>document.title='broken'</script><img src=http://127.0.0.1:9/x>.wav".to_owned(),
        audio_seconds: f64::from(chunks) * 30.0,
        wall_seconds: f64::from(chunks / 8 + 1) * 3.0,
        outcome: "gaps".to_owned(),
        chunks: (0..chunks).map(chunk).collect(),
        envelope: (0..1_000_u32).map(|at| (40 + (at * 37 % 101) + at % 90) as u8).collect(),
        pauses: (0..chunks)
            .map(|at| Stretch { start: f64::from(at) * 30.0 - 1.0, end: f64::from(at) * 30.0 + 1.0 })
            .collect(),
        cuts: (1..chunks)
            .map(|at| Cut {
                at: f64::from(at) * 30.0,
                quality: if at % 9 == 0 { "blind" } else { "pause" }.to_owned(),
            })
            .collect(),
        gaps: vec![Stretch { start: 210.0, end: 240.0 }],
        quota: (0..100)
            .map(|at| QuotaPoint {
                at: f64::from(at) * 0.2,
                dimension: "requests".to_owned(),
                remaining: f64::from(60 - at % 50),
                limit: 60.0,
            })
            .collect(),
        saved_seconds: 300.0,
        saved_microdollars: 30_000,
        ..Run::default()
    };
    RunReport { runs: vec![run], dropped_spans: 0 }
}

/// What the page has become once its script has run, and what the browser said.
fn browse(page: &str, screenshot: Option<&str>) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(&file, page).unwrap();
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--v=0", "--window-size=1280,1400"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    match screenshot {
        Some(path) => command.arg(format!("--screenshot={path}")),
        None => command.arg("--dump-dom"),
    };
    let out = command.arg(format!("file://{}", file.display())).output().unwrap_or_else(|error| {
        panic!(
            "chromium does not start ({error}): install Debian's package `chromium`, or run cargo xtask test"
        )
    });
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    assert!(out.status.success(), "{}", text(out.stderr));
    (text(out.stdout), text(out.stderr))
}

#[test]
fn every_chunk_is_drawn_and_the_page_asks_for_nothing() {
    let (dom, said) = browse(&render_html(&report(48)), None);
    assert_eq!(dom.matches("height=\"13\"").count(), 48);
    assert!(
        dom.contains("aria-label=\"48 chunks: the arrow keys go from one to the next\""),
        "the script ran: {said}"
    );
    assert!(dom.contains("<title>wavequill run report</title>"), "nothing from a name ran");
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
