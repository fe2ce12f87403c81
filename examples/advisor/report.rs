//! How the advisor's findings are printed.
#![expect(clippy::print_stdout, reason = "a report on the terminal")]

use std::time::Duration;

use wavequill_database::{
    ApplyReport, Confidence, HealthVerdict, IndexChange, IndexFinding, IndexPlan, IndexProblem, PoolHealth,
    QueryReport, Severity, Workload, WorkloadSource,
};

/// All that was found.
pub(crate) struct Report<'a> {
    pub(crate) health: &'a PoolHealth,
    pub(crate) workload: &'a Workload,
    pub(crate) queries: &'a QueryReport,
    pub(crate) audit: &'a [IndexFinding],
    pub(crate) plan: &'a IndexPlan,
}

/// Of a statement's text so much is shown.
const WIDTH: usize = 100;

pub(crate) fn print(report: &Report<'_>) {
    health(report.health);
    costly(report);
    findings(report.queries);
    proposals(report.plan);
    audit(report.audit);
    let notes: Vec<_> = report.queries.notes.iter().chain(&report.plan.notes).collect();
    if !notes.is_empty() {
        println!("\nNotes");
        for note in notes {
            println!("  - {note}");
        }
    }
}

fn health(health: &PoolHealth) {
    let verdict = match health.verdict {
        HealthVerdict::Healthy => "healthy",
        HealthVerdict::Degraded => "in trouble",
        HealthVerdict::Down => "down",
    };
    println!(
        "Connection: {verdict}, answered in {:.1} ms; {} open of at most {}, {} wait",
        health.latency.as_secs_f64() * 1_000.0,
        health.stats.size,
        health.stats.target,
        health.stats.waiting
    );
    for problem in &health.problems {
        println!("  - {problem}");
    }
}

fn costly(report: &Report<'_>) {
    let source = match report.workload.source {
        WorkloadSource::PgStatStatements => "as pg_stat_statements counted them",
        WorkloadSource::OwnRecording => "of this process alone",
        _ => "of the file, all of the same weight",
    };
    println!("\nCostliest statements ({source})");
    if report.queries.slow.is_empty() {
        println!("  none");
    }
    let total: Duration = report.workload.queries.iter().map(|query| query.total).sum();
    for query in &report.queries.slow {
        println!(
            "  {:>5.1} %  {:>9} calls  {:>10.3} ms each  {}  {}",
            query.total.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE) * 100.0,
            query.calls,
            query.mean().as_secs_f64() * 1_000.0,
            query.fingerprint,
            short(&query.text)
        );
    }
}

fn findings(report: &QueryReport) {
    println!("\nFindings");
    if report.findings.is_empty() {
        println!("  none");
    }
    for finding in &report.findings {
        let weight = match finding.severity {
            Severity::Severe => "severe",
            Severity::Warn => "warning",
            Severity::Info => "hint",
        };
        println!("  {weight} ({} confidence), statement {}", sure(finding.confidence), finding.fingerprint);
        println!("    seen:  {}: {}", finding.node, finding.evidence);
        println!("    to do: {}", finding.action);
    }
}

fn proposals(plan: &IndexPlan) {
    println!("\nIndexes that would help");
    if plan.changes.is_empty() {
        println!("  none");
    }
    print_list(&plan.changes);
}

fn print_list(changes: &[IndexChange]) {
    for change in changes {
        let size = match change.bytes {
            0 => "of unknown size".to_owned(),
            bytes => format!("{:.1} MB", bytes as f64 / 1e6),
        };
        println!("  {}  {} ({size}; {} confidence)", change.id, change.reason, sure(change.confidence));
        println!("      seen: {}", change.evidence);
        println!("      {};", change.sql);
        println!("      to take it back: {};", change.undo);
    }
}

fn audit(findings: &[IndexFinding]) {
    println!("\nIndexes that do not earn their place");
    if findings.is_empty() {
        println!("  none");
    }
    for finding in findings {
        let problem = match &finding.problem {
            IndexProblem::Unused => "unused".to_owned(),
            IndexProblem::Duplicate { of } => format!("a duplicate of {of}"),
            IndexProblem::RedundantPrefix { of } => format!("the beginning of {of}"),
            IndexProblem::Invalid => "invalid".to_owned(),
            other => format!("{other:?}"),
        };
        let size = finding.bytes as f64 / 1e6;
        println!("  {} is {problem} ({size:.1} MB; {} confidence)", finding.index, sure(finding.confidence));
        println!("      seen: {}", finding.evidence);
        println!("      {};", finding.action);
    }
}

pub(crate) fn print_changes(changes: &[IndexChange], sure: bool) {
    println!("\n{}", if sure { "Building" } else { "Would build; add --yes to do it" });
    for change in changes {
        println!("  {};", change.sql);
    }
}

pub(crate) fn print_applied(report: &ApplyReport) {
    for applied in &report.applied {
        println!("  built {} in {:.1} s", applied.change.index, applied.took.as_secs_f64());
    }
    for skipped in &report.skipped {
        println!("  not begun: {}", skipped.index);
    }
}

const fn sure(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

/// On one line, and not too long.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
