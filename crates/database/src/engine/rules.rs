//! What costs time in a plan: each rule looks at values and says what it saw. None of them asks the database.
//!
//! They judge by the planner's estimates: what only a measured run can tell is not claimed.

use crate::engine::sql_text::Reading;
use crate::{Confidence, Finding, PlanNode, QueryPlan, Rule, Severity, TableFacts, TableStatistics};

/// A table below this is read faster than an index of it is searched.
const LARGE_TABLE: f64 = 10_000.0;

/// All that the rules find in a plan, what matters most first.
pub(crate) fn diagnose(plan: &QueryPlan, statistics: &TableStatistics, reading: &Reading) -> Vec<Finding> {
    let judge = Judge { plan, statistics };
    let mut findings = Vec::new();
    for node in plan.nodes() {
        findings.extend(judge.filtering_scan(node));
        findings.extend(judge.scan_in_loop(node));
        findings.extend(judge.spilling_sort(node));
        findings.extend(judge.sqlite_step(node));
        findings.extend(judge.function_on_column(node));
        findings.extend(judge.stale_statistics(node));
    }
    findings.extend(judge.large_offset(reading));
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.rule.cmp(&b.rule)).then(a.node.cmp(&b.node)));
    findings.dedup();
    findings
}

struct Judge<'a> {
    plan: &'a QueryPlan,
    statistics: &'a TableStatistics,
}

impl Judge<'_> {
    fn facts<'a>(&'a self, node: &'a PlanNode) -> Option<(&'a str, &'a TableFacts)> {
        let relation = node.relation.as_deref()?;
        Some((relation, self.statistics.tables.get(relation)?))
    }

    fn finding(&self, rule: Rule, node: &PlanNode, evidence: String, action: String) -> Finding {
        Finding {
            rule,
            fingerprint: self.plan.fingerprint,
            node: node.to_string(),
            evidence,
            action,
            gain: None,
            severity: Severity::Warn,
            confidence: Confidence::Medium,
        }
    }

    /// The share of the whole plan's cost that a step has.
    fn share(&self, node: &PlanNode) -> Option<f64> {
        let (part, whole) = (node.cost?, self.plan.cost?);
        (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0))
    }

    fn filtering_scan(&self, node: &PlanNode) -> Option<Finding> {
        if node.operation != "Seq Scan" && node.operation != "Parallel Seq Scan" {
            return None;
        }
        let (table, facts) = self.facts(node)?;
        let filter = node.filter.as_ref()?;
        let kept = node.rows? / facts.rows.max(1.0);
        if facts.rows <= LARGE_TABLE || kept > 0.1 {
            return None;
        }
        let gain = self.share(node).map(|share| share * (1.0 - kept));
        let evidence = format!(
            "reads all {:.0} rows of {table} and expects to keep {:.0}, by {filter}",
            facts.rows,
            node.rows.unwrap_or_default()
        );
        let action = format!("an index on the columns that {table} is filtered by; `propose` says which");
        let severity = if gain.is_some_and(|gain| gain > 0.5) { Severity::Severe } else { Severity::Warn };
        Some(Finding { gain, severity, ..self.finding(Rule::FilteringScan, node, evidence, action) })
    }

    fn scan_in_loop(&self, node: &PlanNode) -> Option<Finding> {
        if node.operation != "Nested Loop" {
            return None;
        }
        let [outer, inner] = node.children.as_slice() else { return None };
        let scan = if inner.operation == "Materialize" { inner.children.first()? } else { inner };
        let times = outer.rows?;
        let (table, facts) = self.facts(scan)?;
        if scan.operation != "Seq Scan" || times <= 1_000.0 || facts.rows * times < 1_000_000.0 {
            return None;
        }
        let evidence = format!("reads {table} ({:.0} rows) once for each of {times:.0} rows", facts.rows);
        let action = format!("an index on the column that {table} is joined by");
        let gain = self.share(node);
        let found = self.finding(Rule::ScanInLoop, scan, evidence, action);
        Some(Finding { gain, severity: Severity::Severe, ..found })
    }

    fn spilling_sort(&self, node: &PlanNode) -> Option<Finding> {
        if node.operation != "Sort" {
            return None;
        }
        let (bytes, limit) = (node.rows? * node.row_bytes?, self.statistics.sort_bytes?);
        if bytes <= limit as f64 {
            return None;
        }
        let evidence = format!(
            "sorts about {:.1} MiB by {}, and may use {:.1} MiB",
            bytes / 1_048_576.0,
            node.sort_key.join(", "),
            limit as f64 / 1_048_576.0
        );
        let action = "an index that has this order, or a larger `work_mem` for this statement".to_owned();
        Some(self.finding(Rule::SpillingSort, node, evidence, action))
    }

    /// SQLite says in words what it does.
    fn sqlite_step(&self, node: &PlanNode) -> Option<Finding> {
        if node.operation.starts_with("USE TEMP B-TREE FOR ORDER BY") {
            let evidence = "sorts all rows before it can return the first".to_owned();
            let action = "an index that ends with the columns of the order, in its direction".to_owned();
            return Some(self.finding(Rule::UnindexedSort, node, evidence, action));
        }
        if node.operation.contains("AUTOMATIC") {
            let evidence = "builds an index each time that it runs, and throws it away".to_owned();
            let action = "an index for good on the columns that are named in the step".to_owned();
            let found = self.finding(Rule::AutomaticIndex, node, evidence, action);
            return Some(Finding { confidence: Confidence::High, ..found });
        }
        let (table, facts) = self.facts(node)?;
        let scans = node.operation.starts_with("SCAN") && node.index.is_none();
        if !scans || facts.rows <= LARGE_TABLE || !self.plan.text.to_uppercase().contains("WHERE") {
            return None;
        }
        let evidence = format!("reads all {:.0} rows of {table}", facts.rows);
        let action = format!("an index on the columns that {table} is filtered by; `propose` says which");
        Some(self.finding(Rule::FilteringScan, node, evidence, action))
    }

    fn function_on_column(&self, node: &PlanNode) -> Option<Finding> {
        let filter = node.filter.as_ref()?;
        let (table, facts) = self.facts(node)?;
        if facts.rows <= LARGE_TABLE {
            return None;
        }
        let called = facts.indexed.iter().find(|column| is_argument(filter, column))?;
        let evidence =
            format!("{filter} compares a function of {called}, and the index is on {called} itself");
        let action = format!("an index on the expression, or compare {table}.{called} itself");
        let found = self.finding(Rule::FunctionOnColumn, node, evidence, action);
        Some(Finding { confidence: Confidence::Low, ..found })
    }

    fn stale_statistics(&self, node: &PlanNode) -> Option<Finding> {
        let (table, facts) = self.facts(node)?;
        let evidence = match facts.changed_since_analyze {
            None if facts.rows >= 1_000.0 => {
                format!("the planner has no statistics of {table} ({:.0} rows)", facts.rows)
            }
            Some(changed) if changed as f64 > 1_000.0 + 0.2 * facts.rows => {
                format!(
                    "{changed} rows of {table} have changed since its statistics were made ({:.0} rows)",
                    facts.rows
                )
            }
            _ => return None,
        };
        let action = format!("ANALYZE {}", crate::engine::catalogue::quoted(table));
        let found = self.finding(Rule::StaleStatistics, node, evidence, action);
        Some(Finding { confidence: Confidence::High, ..found })
    }

    fn large_offset(&self, reading: &Reading) -> Option<Finding> {
        let offset = reading.offset.filter(|&offset| offset > 1_000)?;
        let evidence = format!("reads {offset} rows only to skip them");
        let action = "go on from the last row that was seen: WHERE (order columns) > (its values)".to_owned();
        Some(self.finding(Rule::LargeOffset, &self.plan.root, evidence, action))
    }
}

/// Whether a filter has `name(… column …)` with a function's name before the bracket.
fn is_argument(filter: &str, column: &str) -> bool {
    filter.match_indices('(').any(|(at, _)| {
        let before = filter.get(..at).unwrap_or_default();
        let function = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let Some(arguments) = filter.get(at + 1..).and_then(|rest| rest.split(')').next()) else {
            return false;
        };
        let named = arguments
            .trim_start_matches('(')
            .split([',', ' ', ':'])
            .any(|word| word.rsplit('.').next().is_some_and(|word| word == column));
        let keyword = ["ANY", "ALL", "IN", "AND", "OR", "NOT"].iter().any(|word| before.ends_with(word));
        function && named && !keyword
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fingerprint;

    fn plan(root: PlanNode) -> QueryPlan {
        QueryPlan {
            fingerprint: Fingerprint::new(1),
            text: "SELECT * FROM jobs WHERE state = ?".to_owned(),
            cost: root.cost,
            root,
        }
    }

    fn statistics(rows: f64, changed: Option<u64>) -> TableStatistics {
        let facts = TableFacts { rows, changed_since_analyze: changed, indexed: vec!["email".to_owned()] };
        TableStatistics {
            tables: [("public.jobs".to_owned(), facts)].into_iter().collect(),
            sort_bytes: Some(4_194_304),
        }
    }

    fn scan(rows: f64, filter: &str) -> PlanNode {
        PlanNode {
            operation: "Seq Scan".to_owned(),
            relation: Some("public.jobs".to_owned()),
            filter: Some(filter.to_owned()),
            rows: Some(rows),
            cost: Some(100.0),
            ..PlanNode::default()
        }
    }

    fn rules(root: PlanNode, statistics: &TableStatistics) -> Vec<Rule> {
        diagnose(&plan(root), statistics, &Reading::default()).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_scan_is_reported_only_if_the_table_is_large_and_most_rows_are_left_out() {
        let large = statistics(50_000.0, Some(0));
        assert_eq!(rules(scan(10.0, "(state = 'ready')"), &large), [Rule::FilteringScan]);
        assert!(rules(scan(20_000.0, "(state = 'ready')"), &large).is_empty(), "keeps most");
        assert!(rules(scan(10.0, "(state = 'ready')"), &statistics(500.0, Some(0))).is_empty(), "small");
    }

    #[test]
    fn statistics_are_stale_when_a_fifth_of_a_table_has_changed() {
        let index = PlanNode { operation: "Index Scan".to_owned(), ..scan(1.0, "true") };
        assert_eq!(rules(index.clone(), &statistics(50_000.0, Some(12_000))), [Rule::StaleStatistics]);
        assert_eq!(rules(index.clone(), &statistics(50_000.0, None)), [Rule::StaleStatistics]);
        assert!(rules(index, &statistics(50_000.0, Some(900))).is_empty());
    }

    #[test]
    fn a_function_on_an_indexed_column_is_told_from_a_plain_comparison() {
        assert!(is_argument("(lower(users.email) = $1)", "email"));
        assert!(is_argument("(lower((email)::text) = $1)", "email"));
        assert!(!is_argument("(email = ANY ('{a,b}'::text[]))", "email"));
        assert!(!is_argument("((email = $1) AND (name = $2))", "email"));
        assert!(!is_argument("(lower(name) = $1)", "email"));
    }

    #[test]
    fn a_sort_is_reported_when_it_does_not_fit() {
        let sort = |rows| PlanNode {
            operation: "Sort".to_owned(),
            rows: Some(rows),
            row_bytes: Some(100.0),
            sort_key: vec!["priority".to_owned()],
            ..PlanNode::default()
        };
        let statistics = statistics(50_000.0, Some(0));
        assert_eq!(rules(sort(100_000.0), &statistics), [Rule::SpillingSort]);
        assert!(rules(sort(1_000.0), &statistics).is_empty());
    }

    #[test]
    fn a_loop_over_a_whole_table_is_severe() {
        let outer =
            PlanNode { operation: "Index Scan".to_owned(), rows: Some(5_000.0), ..PlanNode::default() };
        let inner = PlanNode { filter: None, ..scan(50_000.0, "") };
        let nested = |outer| PlanNode {
            operation: "Nested Loop".to_owned(),
            children: vec![outer, inner.clone()],
            ..PlanNode::default()
        };
        let statistics = statistics(50_000.0, Some(0));
        assert_eq!(rules(nested(outer.clone()), &statistics), [Rule::ScanInLoop]);
        let few = PlanNode { rows: Some(2.0), ..outer };
        assert!(rules(nested(few), &statistics).is_empty());
    }

    #[test]
    fn sqlites_own_words_are_understood() {
        let step = |detail: &str| PlanNode {
            operation: detail.to_owned(),
            relation: Some("public.jobs".to_owned()),
            ..PlanNode::default()
        };
        let statistics = statistics(50_000.0, Some(0));
        assert_eq!(rules(step("SCAN jobs"), &statistics), [Rule::FilteringScan]);
        assert_eq!(rules(step("USE TEMP B-TREE FOR ORDER BY"), &statistics), [Rule::UnindexedSort]);
        assert_eq!(
            rules(step("SEARCH r USING AUTOMATIC COVERING INDEX (x=?)"), &statistics),
            [Rule::AutomaticIndex]
        );
        assert!(rules(step("SEARCH jobs USING INDEX i (state=?)"), &statistics).is_empty());
    }

    #[test]
    fn only_a_large_offset_is_reported() {
        let skip = |offset| Reading { offset: Some(offset), ..Reading::default() };
        let statistics = TableStatistics::default();
        let found = diagnose(&plan(PlanNode::default()), &statistics, &skip(5_000));
        assert_eq!(found.len(), 1);
        assert!(diagnose(&plan(PlanNode::default()), &statistics, &skip(20)).is_empty());
    }
}
