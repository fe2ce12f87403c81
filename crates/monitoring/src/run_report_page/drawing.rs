//! The drawings of a run as SVG. Whole pixels are no concern: the page scales them.

use std::fmt::Write as _;

use super::{clock, span, text};
use crate::model::run_report::{ChunkBar, Run};

const WIDTH: f64 = 1_200.0;
const LANE: f64 = 14.0;
/// With more chunks, only the script tells of each: without it the page would double.
const TITLES: usize = 2_000;

/// Stages that have a colour of their own, and what they are called.
const STAGES: [(&str, &str); 6] = [
    ("permit", "waiting for a permit"),
    ("attempt", "sending and waiting for the answer"),
    ("retry", "trying again"),
    ("hedge", "hedging"),
    ("hit", "found in the cache"),
    ("keep", "making it durable"),
];

pub(super) fn legend(out: &mut String) {
    out.push_str("<ul class=\"legend\">\n");
    for (stage, name) in STAGES {
        // Writing to a string never fails.
        let _ = writeln!(
            out,
            "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect width=\"12\" height=\"12\" class=\"{stage}\"/></svg> {name}</li>"
        );
    }
    out.push_str("</ul>\n");
}

pub(super) fn timeline(out: &mut String, at: usize, run: &Run) {
    let end = run.chunks.iter().map(|chunk| chunk.ended).fold(run.wall_seconds, f64::max).max(1e-9);
    let x = |seconds: f64| (seconds.max(0.0) / end).min(1.0) * WIDTH;
    let height = run.lanes() as f64 * LANE;
    open(
        out,
        height + 18.0,
        &format!("{} chunks on {} lanes over {}", run.chunks.len(), run.lanes(), span(end)),
    );
    axis(out, end, height, span);
    let titled = run.chunks.len() <= TITLES;
    let _ = writeln!(out, "<g class=\"chunks\" data-run=\"{at}\">");
    for chunk in &run.chunks {
        write_chunk(out, chunk, x(chunk.began), x(chunk.ended), titled);
    }
    out.push_str("</g>\n");
    for (stage, _) in STAGES {
        let mut path = String::new();
        for chunk in &run.chunks {
            for bar in chunk.stages.iter().filter(|bar| bar.stage == stage) {
                let (from, to) = (x(bar.began), x(bar.ended));
                let top = chunk.lane as f64 * LANE + 4.0;
                let wide = (to - from).max(0.4);
                let _ = write!(path, "M{from:.1} {top:.0}h{wide:.1}v7h-{wide:.1}z");
            }
        }
        if !path.is_empty() {
            let _ = writeln!(out, "<path class=\"{stage}\" d=\"{path}\"/>");
        }
    }
    out.push_str("</svg>\n");
}

fn write_chunk(out: &mut String, chunk: &ChunkBar, from: f64, to: f64, titled: bool) {
    let top = chunk.lane as f64 * LANE + 1.0;
    let wide = (to - from).max(0.8);
    let class = if chunk.outcome == "failed" { " class=\"failed\"" } else { "" };
    let _ = write!(out, "<rect{class} x=\"{from:.1}\" y=\"{top:.0}\" width=\"{wide:.1}\" height=\"13\"");
    if titled {
        let _ = writeln!(
            out,
            "><title>chunk {} at {}, {} of audio, took {}{}</title></rect>",
            chunk.index,
            clock(chunk.start),
            span(chunk.seconds),
            span(chunk.ended - chunk.began),
            if chunk.outcome.is_empty() { String::new() } else { format!(", {}", text(&chunk.outcome)) }
        );
    } else {
        out.push_str("/>\n");
    }
}

pub(super) fn waveform(out: &mut String, run: &Run) {
    const HEIGHT: f64 = 90.0;
    let ends = run.chunks.iter().map(|chunk| chunk.start + chunk.seconds);
    let end = ends.chain(run.cuts.iter().map(|cut| cut.at)).fold(run.audio_seconds, f64::max).max(1e-9);
    let x = |seconds: f64| (seconds.max(0.0) / end).min(1.0) * WIDTH;
    let label = format!("{} of audio, {} pauses, {} cuts", span(end), run.pauses.len(), run.cuts.len());
    open(out, HEIGHT + 18.0, &label);
    for (stretches, class) in [(&run.pauses, "pause"), (&run.gaps, "gap")] {
        let mut path = String::new();
        for stretch in stretches {
            let (from, wide) = (x(stretch.start), (x(stretch.end) - x(stretch.start)).max(0.5));
            let _ = write!(path, "M{from:.1} 0h{wide:.1}v{HEIGHT}h-{wide:.1}z");
        }
        let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    axis(out, end, HEIGHT, clock);
    let step = WIDTH / run.envelope.len().max(1) as f64;
    let mut path = String::new();
    for (at, peak) in run.envelope.iter().enumerate() {
        let half = f64::from(*peak) / 255.0 * (HEIGHT / 2.0 - 2.0);
        let _ =
            write!(path, "M{:.1} {:.1}v{:.1}", at as f64 * step, HEIGHT / 2.0 - half, (2.0 * half).max(0.5));
    }
    let _ = writeln!(out, "<path class=\"wave\" d=\"{path}\"/>");
    for (class, blind) in [("cut", false), ("cut blind", true)] {
        let mut path = String::new();
        for cut in run.cuts.iter().filter(|cut| (cut.quality == "blind") == blind) {
            let _ = write!(path, "M{:.1} 0v{HEIGHT}", x(cut.at));
        }
        let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    out.push_str("</svg>\n");
}

pub(super) fn quota(out: &mut String, run: &Run) {
    const HEIGHT: f64 = 80.0;
    let end = run.quota.iter().map(|point| point.at).fold(run.wall_seconds, f64::max).max(1e-9);
    let mut dimensions: Vec<&str> = run.quota.iter().map(|point| point.dimension.as_str()).collect();
    dimensions.sort_unstable();
    dimensions.dedup();
    for dimension in dimensions {
        let points: Vec<_> = run.quota.iter().filter(|point| point.dimension == dimension).collect();
        let most = points.iter().map(|point| point.limit.max(point.remaining)).fold(1e-9, f64::max);
        let _ = writeln!(out, "<h4>{} (of {most})</h4>", text(dimension));
        open(out, HEIGHT + 18.0, &format!("what was left of {dimension} over {}", span(end)));
        axis(out, end, HEIGHT, span);
        let mut path = String::new();
        for (at, point) in points.iter().enumerate() {
            let x = (point.at.max(0.0) / end).min(1.0) * WIDTH;
            let y = HEIGHT - (point.remaining / most).clamp(0.0, 1.0) * (HEIGHT - 2.0) - 1.0;
            // It holds until it is told anew.
            let _ = if at == 0 { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        let _ = writeln!(out, "<path class=\"quota\" d=\"{path}H{WIDTH}\"/>\n</svg>");
    }
}

fn open(out: &mut String, height: f64, label: &str) {
    let label = text(label);
    let _ = writeln!(
        out,
        "<svg class=\"drawing\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\">"
    );
}

/// Five marks with their times.
fn axis(out: &mut String, end: f64, height: f64, name: fn(f64) -> String) {
    for mark in 0..=4 {
        let share = f64::from(mark) / 4.0;
        let x = share * WIDTH;
        let anchor =
            ["start", "middle", "middle", "middle", "end"].get(mark as usize).copied().unwrap_or("middle");
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{x:.1} 0v{height:.0}\"/><text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{}</text>",
            height + 14.0,
            name(share * end)
        );
    }
}
