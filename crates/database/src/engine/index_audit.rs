//! Which indexes do not earn their place, by the catalogue alone. It changes nothing.

use crate::engine::catalogue::{Catalogue, Index, quoted};
use crate::{Confidence, IndexFinding, IndexProblem, TableScope};

/// Whether the counts of index scans say something: how long they have been counted.
#[derive(Clone, Debug)]
pub(crate) enum Counted {
    /// Long enough; for how many days.
    #[cfg(feature = "postgres")]
    Days(f64),
    /// Too short a time, or not at all.
    TooShort,
}

/// What an engine's statements are called.
pub(crate) struct Words {
    pub(crate) drop: &'static str,
    pub(crate) rebuild: &'static str,
}

/// An index may be this much larger than the shorter one that it replaces.
const MOST_TIMES_LARGER: u64 = 3;

/// All findings, by table and index.
pub(crate) fn audit(
    catalogue: &Catalogue,
    scope: &TableScope,
    counted: &Counted,
    words: &Words,
) -> Vec<IndexFinding> {
    let indexes: Vec<_> = catalogue.indexes.iter().filter(|index| scope.covers(&index.table)).collect();
    let mut findings: Vec<_> =
        indexes.iter().filter_map(|index| judge(index, &indexes, counted, words)).collect();
    findings.sort_by(|a, b| a.table.cmp(&b.table).then(a.index.cmp(&b.index)));
    findings
}

fn judge(index: &Index, all: &[&Index], counted: &Counted, words: &Words) -> Option<IndexFinding> {
    let drop = format!("{} {}", words.drop, quoted(&index.name));
    if !index.valid {
        let action = if index.needed { format!("{} {}", words.rebuild, quoted(&index.name)) } else { drop };
        let evidence = "its build did not end; it costs each write, and no statement uses it".to_owned();
        return Some(finding(index, IndexProblem::Invalid, evidence, action, Confidence::High));
    }
    if index.needed {
        return None;
    }
    if let Some(other) = all.iter().find(|other| is_duplicate(index, other)) {
        let evidence = format!("{} has the same keys, in the same order, of the same rows", other.name);
        return Some(finding(
            index,
            IndexProblem::Duplicate { of: other.name.clone() },
            evidence,
            drop,
            Confidence::High,
        ));
    }
    if let Some(other) = all.iter().find(|other| is_prefix(index, other)) {
        let evidence = format!(
            "{} ({}) begins with ({})",
            other.name,
            other.columns.join(", "),
            index.columns.join(", ")
        );
        let problem = IndexProblem::RedundantPrefix { of: other.name.clone() };
        return Some(finding(index, problem, evidence, drop, Confidence::Medium));
    }
    match (counted, index.scans, index.unique) {
        #[cfg(feature = "postgres")]
        (Counted::Days(days), Some(0), false) => {
            let evidence =
                format!("not used once in {days:.0} days on this server; look at its replicas, too");
            Some(finding(index, IndexProblem::Unused, evidence, drop, Confidence::Low))
        }
        _ => None,
    }
}

fn finding(
    index: &Index,
    problem: IndexProblem,
    evidence: String,
    action: String,
    confidence: Confidence,
) -> IndexFinding {
    IndexFinding {
        index: index.name.clone(),
        table: index.table.clone(),
        problem,
        evidence,
        action,
        bytes: index.bytes,
        confidence,
    }
}

/// Of two that are the same the one that can go: never a unique one for one that is not, else the later name.
fn is_duplicate(index: &Index, other: &Index) -> bool {
    let same = index.table == other.table && index.keys == other.keys && index.rest == other.rest;
    let can_go = !index.unique || other.unique;
    let other_stays = other.needed || (other.unique && !index.unique) || other.name < index.name;
    index.name != other.name && other.valid && same && can_go && other_stays
}

fn is_prefix(index: &Index, other: &Index) -> bool {
    !index.unique
        && other.valid
        && index.table == other.table
        && index.rest == other.rest
        && index.rest.starts_with("btree")
        && !index.rest.contains("INCLUDE")
        && other.keys.len() > index.keys.len()
        && other.keys.starts_with(&index.keys)
        && other.bytes <= index.bytes.saturating_mul(MOST_TIMES_LARGER).max(1024 * 1024)
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use super::*;

    const WORDS: Words = Words { drop: "DROP INDEX", rebuild: "REINDEX INDEX" };

    fn index(name: &str, columns: &[&str]) -> Index {
        Index {
            name: name.to_owned(),
            table: "t".to_owned(),
            keys: columns.iter().map(|column| format!("{column} 1978 0 0")).collect(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rest: "btree".to_owned(),
            valid: true,
            scans: Some(9),
            ..Index::default()
        }
    }

    fn problems(indexes: Vec<Index>) -> Vec<(String, IndexProblem)> {
        let catalogue = Catalogue { indexes, ..Catalogue::default() };
        let findings = audit(&catalogue, &TableScope::All, &Counted::Days(40.0), &WORDS);
        findings.into_iter().map(|it| (it.index, it.problem)).collect()
    }

    #[test]
    fn of_two_that_are_the_same_one_is_reported_and_never_the_one_that_is_needed() {
        let found = problems(vec![index("a", &["x"]), index("b", &["x"])]);
        assert_eq!(found, [("b".to_owned(), IndexProblem::Duplicate { of: "a".to_owned() })]);
        let primary = Index { needed: true, unique: true, ..index("z", &["x"]) };
        let found = problems(vec![index("a", &["x"]), primary]);
        assert_eq!(found, [("a".to_owned(), IndexProblem::Duplicate { of: "z".to_owned() })]);
        let unique = Index { unique: true, ..index("z", &["x"]) };
        let found = problems(vec![index("a", &["x"]), unique]);
        assert_eq!(found, [("a".to_owned(), IndexProblem::Duplicate { of: "z".to_owned() })]);
    }

    #[test]
    fn what_only_looks_alike_is_not_reported() {
        let descending = Index { keys: vec!["x 1978 0 3".to_owned()], ..index("b", &["x"]) };
        let partial = Index { rest: "btree WHERE y".to_owned(), ..index("c", &["x"]) };
        let hash = Index { rest: "hash".to_owned(), ..index("d", &["x"]) };
        let elsewhere = Index { table: "u".to_owned(), ..index("e", &["x"]) };
        assert!(problems(vec![index("a", &["x"]), descending, partial, hash, elsewhere]).is_empty());
    }

    #[test]
    fn a_prefix_is_redundant_unless_it_is_unique_or_much_smaller() {
        let found = problems(vec![index("a", &["x"]), index("b", &["x", "y"])]);
        assert_eq!(found, [("a".to_owned(), IndexProblem::RedundantPrefix { of: "b".to_owned() })]);
        let unique = Index { unique: true, ..index("a", &["x"]) };
        assert!(problems(vec![unique, index("b", &["x", "y"])]).is_empty());
        let small = Index { bytes: 1_000_000, ..index("a", &["x"]) };
        let large = Index { bytes: 9_000_000, ..index("b", &["x", "y"]) };
        assert!(problems(vec![small, large]).is_empty());
    }

    #[test]
    fn unused_is_said_only_of_what_was_counted_for_long_and_nothing_needs() {
        let never = Index { scans: Some(0), ..index("a", &["x"]) };
        assert_eq!(problems(vec![never.clone()]), [("a".to_owned(), IndexProblem::Unused)]);
        assert!(problems(vec![Index { needed: true, ..never.clone() }]).is_empty());
        assert!(problems(vec![Index { unique: true, ..never.clone() }]).is_empty());
        let catalogue = Catalogue { indexes: vec![never], ..Catalogue::default() };
        assert!(audit(&catalogue, &TableScope::All, &Counted::TooShort, &WORDS).is_empty());
    }
}
