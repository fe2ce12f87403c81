//! Reads plans as the databases write them.

#[cfg(feature = "postgres")]
use serde_json::Value;

use crate::PlanNode;

/// From `EXPLAIN (FORMAT JSON, VERBOSE)`.
#[cfg(feature = "postgres")]
pub(crate) fn from_postgres(explained: &Value) -> Option<PlanNode> {
    postgres_node(explained.get(0)?.get("Plan")?)
}

#[cfg(feature = "postgres")]
fn postgres_node(plan: &Value) -> Option<PlanNode> {
    let text = |key: &str| plan.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| plan.get(key).and_then(Value::as_f64);
    let relation = text("Relation Name").map(|name| match text("Schema") {
        Some(schema) => format!("{schema}.{name}"),
        None => name,
    });
    let list = |key: &str| plan.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    Some(PlanNode {
        operation: text("Node Type")?,
        relation,
        index: text("Index Name"),
        filter: text("Filter"),
        sort_key: list("Sort Key").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        rows: number("Plan Rows"),
        row_bytes: number("Plan Width"),
        cost: number("Total Cost"),
        children: list("Plans").iter().filter_map(postgres_node).collect(),
    })
}

/// A row of `EXPLAIN QUERY PLAN`.
#[cfg(feature = "sqlite")]
#[derive(Clone, Debug)]
pub(crate) struct SqliteStep {
    pub(crate) id: i32,
    pub(crate) parent: i32,
    pub(crate) detail: String,
}

/// From the rows of `EXPLAIN QUERY PLAN`. Aliases in them are turned into tables by `table_of`.
#[cfg(feature = "sqlite")]
pub(crate) fn from_sqlite(steps: &[SqliteStep], table_of: &dyn Fn(&str) -> Option<String>) -> PlanNode {
    let children = sqlite_children(steps, 0, table_of, 0);
    PlanNode { operation: "QUERY PLAN".to_owned(), children, ..PlanNode::default() }
}

#[cfg(feature = "sqlite")]
fn sqlite_children(
    steps: &[SqliteStep],
    parent: i32,
    table_of: &dyn Fn(&str) -> Option<String>,
    depth: u32,
) -> Vec<PlanNode> {
    // A plan is a tree by its ids; the bound is for one that is not.
    if depth > 64 {
        return Vec::new();
    }
    let below = steps.iter().filter(|step| step.parent == parent && step.id != parent);
    below
        .map(|step| {
            let mut words = step.detail.split_whitespace();
            let reads = matches!(words.next(), Some("SCAN" | "SEARCH"));
            PlanNode {
                relation: if reads { words.next().and_then(table_of) } else { None },
                index: sqlite_index(&step.detail),
                operation: step.detail.clone(),
                children: sqlite_children(steps, step.id, table_of, depth + 1),
                ..PlanNode::default()
            }
        })
        .collect()
}

/// `… USING [COVERING] INDEX name (…)`; an automatic index has no name.
#[cfg(feature = "sqlite")]
fn sqlite_index(detail: &str) -> Option<String> {
    let (before, after) = detail.split_once("INDEX ")?;
    if before.contains("AUTOMATIC") {
        return None;
    }
    after.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn a_postgres_plan_keeps_tables_filters_and_costs() {
        let explained = serde_json::json!([{"Plan": {
            "Node Type": "Limit", "Total Cost": 7.5, "Plan Rows": 1, "Plan Width": 40,
            "Plans": [{"Node Type": "Seq Scan", "Schema": "public", "Relation Name": "jobs",
                       "Filter": "(jobs.state = 'ready')", "Total Cost": 7.0, "Plan Rows": 10, "Plan Width": 40}]
        }}]);
        let root = from_postgres(&explained).unwrap();
        assert_eq!((root.cost, root.operation.as_str()), (Some(7.5), "Limit"));
        let scan = root.children.first().unwrap();
        assert_eq!(scan.relation.as_deref(), Some("public.jobs"));
        assert_eq!(scan.to_string(), "Seq Scan on public.jobs");
        assert!(from_postgres(&serde_json::json!([])).is_none());
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_sqlite_plan_is_a_tree_and_names_its_index() {
        let step = |id, parent, detail: &str| SqliteStep { id, parent, detail: detail.to_owned() };
        let steps = [
            step(2, 0, "SEARCH j USING COVERING INDEX jobs_kind (kind=?)"),
            step(5, 0, "CORRELATED SCALAR SUBQUERY 1"),
            step(8, 5, "SEARCH r USING AUTOMATIC COVERING INDEX (job_id=?)"),
            step(9, 0, "USE TEMP B-TREE FOR ORDER BY"),
        ];
        let table_of = |alias: &str| Some(if alias == "j" { "jobs" } else { "runs" }.to_owned());
        let root = from_sqlite(&steps, &table_of);
        assert_eq!(root.children.len(), 3);
        assert_eq!(root.children[0].index.as_deref(), Some("jobs_kind"));
        assert_eq!(root.children[0].relation.as_deref(), Some("jobs"));
        assert_eq!(root.children[1].children[0].relation.as_deref(), Some("runs"));
        assert_eq!(root.children[1].children[0].index, None);
    }
}
