//! The values that plans and what is found in them are spoken of in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::query::{Fingerprint, ObservedQuery};

/// How the database would run a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryPlan {
    /// The statement.
    pub fingerprint: Fingerprint,
    /// Its text.
    pub text: String,
    /// The last step first, with what it needs below it.
    pub root: PlanNode,
    /// What the planner thinks it costs, in its own unit; SQLite does not say.
    pub cost: Option<f64>,
}

impl QueryPlan {
    /// The plan of a statement, from its last step.
    pub fn new(query: &ObservedQuery, root: PlanNode) -> Self {
        Self { fingerprint: query.fingerprint, text: query.text.clone(), cost: root.cost, root }
    }

    /// All steps, the last first.
    pub fn nodes(&self) -> Vec<&PlanNode> {
        let mut nodes = Vec::new();
        let mut ahead = vec![&self.root];
        while let Some(node) = ahead.pop() {
            nodes.push(node);
            ahead.extend(node.children.iter().rev());
        }
        nodes
    }
}

/// A step of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PlanNode {
    /// What it does, in the database's words: `Seq Scan`, `SCAN jobs`.
    pub operation: String,
    /// The table that it reads: `schema.table` (SQLite: `table`).
    pub relation: Option<String>,
    /// The index that it uses.
    pub index: Option<String>,
    /// What rows must satisfy that are read and then left out.
    pub filter: Option<String>,
    /// By what it sorts.
    pub sort_key: Vec<String>,
    /// How many rows the planner expects of it, each time it runs.
    pub rows: Option<f64>,
    /// How many bytes it expects of a row.
    pub row_bytes: Option<f64>,
    /// What it costs with all below it, in the planner's own unit.
    pub cost: Option<f64>,
    /// What it needs first.
    pub children: Vec<PlanNode>,
}

impl fmt::Display for PlanNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operation)?;
        match &self.relation {
            Some(relation) if !self.operation.contains(relation.as_str()) => write!(f, " on {relation}"),
            _ => Ok(()),
        }
    }
}

/// What is known of the tables of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TableStatistics {
    /// By table, as `schema.table` (SQLite: `table`).
    pub tables: BTreeMap<String, TableFacts>,
    /// How many bytes a sort may use before it goes to disk; unknown to SQLite.
    pub sort_bytes: Option<u64>,
}

/// What is known of a table.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TableFacts {
    /// Rows, roughly.
    pub rows: f64,
    /// Rows changed since the planner's statistics were made; `None` if they never were.
    pub changed_since_analyze: Option<u64>,
    /// The first column of each index.
    pub indexed: Vec<String>,
}

/// How sure a finding or a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// By rule: look before acting.
    Low,
    /// By the planner's estimates.
    Medium,
    /// Measured, or certain from the catalogue.
    High,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Costs more than it should.
    Warn,
    /// Costs most of the statement's time.
    Severe,
}

/// What was looked for in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A scan of a large table that leaves out most of what it reads.
    FilteringScan,
    /// A large table is read once for each row of another.
    ScanInLoop,
    /// A sort that does not fit into its memory.
    SpillingSort,
    /// A sort without an index that has the order.
    UnindexedSort,
    /// An index that the database builds for each run of the statement.
    AutomaticIndex,
    /// A condition on a function of a column that is indexed only as it is.
    FunctionOnColumn,
    /// Rows that are read to be skipped.
    LargeOffset,
    /// The planner knows the table only as it was long ago, or not at all.
    StaleStatistics,
    /// A statement that is asked for row by row of another one's result.
    RowByRow,
}

/// Something in a plan that costs time, with the evidence and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was looked for.
    pub rule: Rule,
    /// The statement.
    pub fingerprint: Fingerprint,
    /// The step of its plan.
    pub node: String,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub action: String,
    /// The share of the statement's cost that could be saved at most, if it can be told.
    pub gain: Option<f64>,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
}

/// A statement that has become slower.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// The statement, as it is now.
    pub query: ObservedQuery,
    /// The median call before; the mean where single calls are not known.
    pub before: Duration,
    /// The same now.
    pub after: Duration,
    /// How sure it is.
    pub confidence: Confidence,
}

/// What a person should read about a database's statements.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryReport {
    /// The statements that cost most, most first.
    pub slow: Vec<ObservedQuery>,
    /// What was found in their plans, what matters most first.
    pub findings: Vec<Finding>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}
