//! `cargo xtask generate`: writes what operators read from what the code describes, so that neither can rot.
//!
//! The dashboard, the alert rules and the list of metrics come from the example `catalogue`, which starts a service and asks it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::install::find_or_install;
use crate::root;
use crate::test::PROMTOOL;

mod dashboard;

const DASHBOARD: &str = "docs/grafana/wavequill.json";
const RULES: &str = "docs/prometheus/rules.yml";
const OPERATIONS: &str = "docs/operations.md";
const BEGIN: &str = "<!-- begin of the list of metrics: written by `cargo xtask generate` -->\n";
const END: &str = "<!-- end of the list of metrics -->\n";
/// Labels whose values are names from the configuration.
const CONFIGURED: [&str; 3] = ["kind", "model", "pool"];

/// One metric, as the example tells of it.
#[derive(Debug)]
struct Metric {
    name: String,
    kind: String,
    unit: Option<String>,
    help: String,
    labels: BTreeMap<String, Vec<String>>,
}

impl Metric {
    /// The context in `wavequill_<context>_…`.
    fn context(&self) -> &str {
        self.name.split('_').nth(1).unwrap_or_default()
    }
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let checking = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask generate [--check]"),
    };
    let catalogue = catalogue()?;
    let metrics = metrics(&catalogue)?;
    let rules = text(&catalogue, "rules")?;
    let promtool = find_or_install(PROMTOOL, &[])?;
    accepted(&promtool, &["check", "metrics"], text(&catalogue, "page")?)?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let draft = folder.path().join("rules.yml");
    std::fs::write(&draft, rules).with_context(|| format!("cannot write {}", draft.display()))?;
    accepted(&promtool, &["check", "rules", &draft.display().to_string()], "")?;

    let root = root()?;
    let operations = std::fs::read_to_string(root.join(OPERATIONS)).context(OPERATIONS)?;
    let dashboard = format!("{:#}\n", dashboard::of(&metrics)?);
    let header = "# Written by `cargo xtask generate` from RuleSet::for_wavequill().\n";
    let files = [
        (DASHBOARD, dashboard),
        (RULES, format!("{header}{rules}")),
        (OPERATIONS, with_list(&operations, &list(&metrics))?),
    ];
    let mut differ = Vec::new();
    for (place, wanted) in files {
        let file = root.join(place);
        if std::fs::read_to_string(&file).is_ok_and(|found| found == wanted) {
            continue;
        }
        differ.push(place);
        if !checking {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            std::fs::write(&file, wanted).with_context(|| format!("cannot write {place}"))?;
        }
    }
    match (checking, differ.is_empty()) {
        (_, true) => println!("all is as the code describes it"),
        (false, false) => println!("written: {}", differ.join(", ")),
        (true, false) => {
            bail!("not as the code describes it: {}; run cargo xtask generate", differ.join(", "))
        }
    }
    Ok(())
}

/// What the example `catalogue` prints.
fn catalogue() -> Result<Value> {
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "-p", "wavequill-examples", "--example", "catalogue"])
        .current_dir(root()?)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo run --example catalogue")?;
    if !out.status.success() {
        bail!("the example `catalogue` failed");
    }
    serde_json::from_slice(&out.stdout).context("the example `catalogue` printed no JSON")
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("the catalogue has no text `{field}`"))
}

fn metrics(catalogue: &Value) -> Result<Vec<Metric>> {
    let all = catalogue.get("metrics").and_then(Value::as_array).context("the catalogue has no metrics")?;
    let metric = |metric: &Value| {
        let labels = metric.get("labels").cloned().unwrap_or_else(|| json!({}));
        Ok(Metric {
            name: text(metric, "name")?.to_owned(),
            kind: text(metric, "kind")?.to_owned(),
            unit: metric.get("unit").and_then(Value::as_str).map(str::to_owned),
            help: text(metric, "help")?.to_owned(),
            labels: serde_json::from_value(labels).context("labels are lists of values")?,
        })
    };
    all.iter().map(metric).collect()
}

/// Fails with what promtool has to say.
fn accepted(promtool: &Path, args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(promtool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run promtool")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("promtool does not read")?;
    }
    let out = child.wait_with_output().context("promtool does not end")?;
    if !out.status.success() {
        let said = [out.stdout, out.stderr].concat();
        bail!("promtool {}: {}", args.join(" "), String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

/// The metrics of each context as a table.
fn list(metrics: &[Metric]) -> String {
    let mut out = String::new();
    let mut context = "";
    for metric in metrics {
        if metric.context() != context {
            context = metric.context();
            // Writing to a string never fails.
            let _ = write!(
                out,
                "\n### {context}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n"
            );
        }
        let labels = metric.labels.iter().map(|(label, values)| {
            if CONFIGURED.contains(&label.as_str()) {
                format!("`{label}`")
            } else {
                format!("`{label}`: {}", values.join(" "))
            }
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        let help = metric.help.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {} | {labels} | {help} |", metric.name, metric.kind);
    }
    out.push('\n');
    out
}

/// The page with another list between its two marks.
fn with_list(page: &str, list: &str) -> Result<String> {
    let (before, rest) =
        page.split_once(BEGIN).with_context(|| format!("{OPERATIONS} has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{OPERATIONS} has no line {END}"))?;
    Ok(format!("{before}{BEGIN}{list}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, kind: &str) -> Metric {
        let labels = [
            ("level".to_owned(), vec!["l1".to_owned(), "l2".to_owned()]),
            ("pool".to_owned(), vec!["x".to_owned()]),
        ];
        Metric {
            name: name.to_owned(),
            kind: kind.to_owned(),
            unit: None,
            help: "Says a | b".to_owned(),
            labels: labels.into(),
        }
    }

    #[test]
    fn the_list_has_a_table_for_each_context_and_stands_between_its_marks() {
        let list = list(&[metric("wavequill_caching_puts_total", "counter")]);
        assert!(list.contains("### caching"), "{list}");
        assert!(
            list.contains(
                "| `wavequill_caching_puts_total` | counter | `level`: l1 l2; `pool` | Says a \\| b |"
            ),
            "{list}"
        );
        let page = with_list(&format!("a\n{BEGIN}old\n{END}b\n"), &list).unwrap();
        assert_eq!(page, format!("a\n{BEGIN}{list}{END}b\n"));
        assert!(with_list("no marks", &list).is_err());
    }

    #[test]
    fn a_panel_at_a_glance_about_what_does_not_exist_is_refused() {
        let error = dashboard::of(&[metric("wavequill_caching_puts_total", "counter")]).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
}
