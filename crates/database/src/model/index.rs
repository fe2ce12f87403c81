//! The values that indexes are spoken of in.

use std::fmt;
use std::time::Duration;

use super::plan::Confidence;
use super::query::Fingerprint;
use crate::DatabaseError;

/// Which tables are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableScope {
    /// All that are not the system's.
    #[default]
    All,
    /// These: `schema.table` (SQLite: `table`).
    Only(Vec<String>),
}

impl TableScope {
    /// Whether it is looked at.
    pub fn covers(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(tables) => tables.iter().any(|it| it == table),
        }
    }
}

/// What proposed indexes may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexBudget {
    /// Bytes on disk, all together. Default: 1 GiB.
    pub bytes: u64,
    /// How often a statement is planned to find them. Default: 1000.
    pub explains: u32,
}

impl Default for IndexBudget {
    fn default() -> Self {
        Self { bytes: 1024 * 1024 * 1024, explains: 1_000 }
    }
}

impl IndexBudget {
    /// Sets how many bytes the indexes may take, all together.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets how often a statement may be planned.
    #[must_use]
    pub fn with_explains(mut self, explains: u32) -> Self {
        self.explains = explains;
        self
    }
}

/// Names a change within its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(u32);

impl ChangeId {
    /// By its number in the plan.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a change does to its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Builds it.
    Create,
    /// Drops it.
    Drop,
}

/// One change, as the statements that would be run.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexChange {
    /// Names it within its plan.
    pub id: ChangeId,
    /// What it does.
    pub kind: ChangeKind,
    /// The index, as `schema.index` (SQLite: `index`).
    pub index: String,
    /// Its table.
    pub table: String,
    /// What would be run.
    pub sql: String,
    /// What takes it back.
    pub undo: String,
    /// Why.
    pub reason: String,
    /// What was seen.
    pub evidence: String,
    /// The share of the workload's time that it is expected to save.
    pub saving: f64,
    /// Bytes on disk that it takes, or frees; 0 if it is not known.
    pub bytes: u64,
    /// How sure it is.
    pub confidence: Confidence,
    /// The statements it is meant for, each with its mean time before.
    pub queries: Vec<(Fingerprint, Duration)>,
}

/// Changes that are proposed, best first: any prefix is a plan, too. Nothing of it is done before it is approved.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct IndexPlan {
    /// The changes.
    pub changes: Vec<IndexChange>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// The indexes that the plan was made for.
    pub(crate) schema: u64,
}

impl IndexPlan {
    /// A plan for the indexes that there are now, told by a number that changes when they do.
    pub fn new(changes: Vec<IndexChange>, notes: Vec<String>, indexes: u64) -> Self {
        Self { changes, notes, schema: indexes }
    }

    /// Approves some of the changes: only these can be applied.
    ///
    /// # Errors
    /// [`DatabaseError::UnknownChange`] if one of them is not in the plan.
    pub fn approve(&self, ids: &[ChangeId]) -> Result<ApprovedPlan, DatabaseError> {
        for id in ids {
            if !self.changes.iter().any(|change| change.id == *id) {
                return Err(DatabaseError::UnknownChange { id: *id });
            }
        }
        let changes = self.changes.iter().filter(|change| ids.contains(&change.id)).cloned().collect();
        Ok(ApprovedPlan { changes, schema: self.schema })
    }

    /// The statements of the plan, as a person reads and a shell runs them.
    pub fn to_sql(&self) -> String {
        self.changes.iter().fold(String::new(), |sql, change| {
            format!("{sql}-- {} {}: {}\n{};\n", change.id, change.reason, change.evidence, change.sql)
        })
    }
}

/// Changes that someone has approved. It can only be had from [`IndexPlan::approve`].
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovedPlan {
    changes: Vec<IndexChange>,
    schema: u64,
}

impl ApprovedPlan {
    /// The number of the indexes that the plan was made for.
    pub fn indexes(&self) -> u64 {
        self.schema
    }

    /// The changes that were approved.
    pub fn changes(&self) -> &[IndexChange] {
        &self.changes
    }
}

/// What is wrong with an index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexProblem {
    /// Nobody has used it.
    Unused,
    /// Another one is the same.
    Duplicate {
        /// The other one.
        of: String,
    },
    /// Another one begins with the same columns.
    RedundantPrefix {
        /// The other one.
        of: String,
    },
    /// Its build did not end: it is kept up to date, and never used.
    Invalid,
}

/// An index that does not earn its place.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexFinding {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// What is wrong with it.
    pub problem: IndexProblem,
    /// What was seen.
    pub evidence: String,
    /// What to run; nothing is run by itself.
    pub action: String,
    /// Bytes on disk that it takes; 0 if it is not known.
    pub bytes: u64,
    /// How sure it is.
    pub confidence: Confidence,
}

/// What became of approved changes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ApplyReport {
    /// Done, in this order.
    pub applied: Vec<AppliedChange>,
    /// What stopped the rest, if something did; what it left is cleaned up.
    pub failed: Option<(IndexChange, DatabaseErrorText)>,
    /// Not begun after a failure.
    pub skipped: Vec<IndexChange>,
}

/// An error in a report: the report is a value, and errors are not compared.
pub type DatabaseErrorText = String;

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedChange {
    /// The change.
    pub change: IndexChange,
    /// How long it took.
    pub took: Duration,
}

/// Whether a change kept its promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The index.
    pub index: String,
    /// What was decided.
    pub outcome: VerdictOutcome,
    /// What was seen.
    pub evidence: String,
}

/// What became of a change after it was looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictOutcome {
    /// It helps, and stays.
    Kept,
    /// It saves less than half of what was predicted: it was taken back.
    RolledBack,
    /// The statements that it is for have not run often enough since.
    TooEarly,
}

/// What was left by changes that did not end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Invalid indexes of ours that were dropped.
    pub dropped: Vec<String>,
    /// Changes that had ended well, though nobody had noted it.
    pub completed: Vec<String>,
    /// Invalid indexes of others, left alone.
    pub foreign: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: u32) -> IndexChange {
        IndexChange {
            id: ChangeId::new(id),
            kind: ChangeKind::Create,
            index: format!("i{id}"),
            table: "t".to_owned(),
            sql: format!("CREATE INDEX i{id} ON t (a)"),
            undo: format!("DROP INDEX i{id}"),
            reason: "it is asked for".to_owned(),
            evidence: "seen".to_owned(),
            saving: 0.5,
            bytes: 8_192,
            confidence: Confidence::Medium,
            queries: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_in_the_plan_can_be_approved() {
        let plan = IndexPlan { changes: vec![change(1), change(2)], ..IndexPlan::default() };
        let approved = plan.approve(&[ChangeId::new(2)]).unwrap();
        assert_eq!(approved.changes(), [change(2)]);
        let refused = plan.approve(&[ChangeId::new(2), ChangeId::new(7)]).unwrap_err();
        assert_eq!(refused.to_string(), "the plan has no change #7: approve changes of this plan");
        assert!(plan.to_sql().starts_with("-- #1 it is asked for: seen\nCREATE INDEX i1 ON t (a);\n"));
    }
}
