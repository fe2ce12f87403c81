//! Decides which steps of a context's tables are missing. It runs none.

use xxhash_rust::xxh3::Xxh3;

use crate::{DatabaseError, SchemaProblem};

/// What the database says of a context's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: u32,
    pub(crate) checksum: String,
}

/// The steps that are still to be run, oldest first.
pub(crate) fn missing_steps(
    context: &'static str,
    steps: &'static [&'static str],
    applied: Option<&Applied>,
) -> Result<&'static [&'static str], DatabaseError> {
    let Some(applied) = applied else {
        return Ok(steps);
    };
    let problem = match steps.split_at_checked(applied.version as usize) {
        None => SchemaProblem::Newer { found: applied.version, known: steps.len() as u32 },
        Some((done, missing)) if checksum(done) == applied.checksum => return Ok(missing),
        Some(_) => SchemaProblem::Changed { version: applied.version },
    };
    Err(DatabaseError::Schema { context, problem })
}

/// Tells one list of steps from another: XXH3 of each step's length and text.
pub(crate) fn checksum(steps: &[&str]) -> String {
    let mut hash = Xxh3::new();
    for step in steps {
        hash.update(&(step.len() as u64).to_le_bytes());
        hash.update(step.as_bytes());
    }
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[&str] = &["CREATE TABLE a (x)", "CREATE INDEX i ON a (x)"];

    fn at(version: usize) -> Applied {
        Applied { version: version as u32, checksum: checksum(STEPS.get(..version).unwrap_or(STEPS)) }
    }

    #[test]
    fn only_the_steps_after_the_recorded_version_are_missing() {
        assert_eq!(missing_steps("queue", STEPS, None).unwrap(), STEPS);
        assert_eq!(missing_steps("queue", STEPS, Some(&at(1))).unwrap(), &STEPS[1..]);
        assert!(missing_steps("queue", STEPS, Some(&at(2))).unwrap().is_empty());
    }

    #[test]
    fn tables_of_a_later_program_and_changed_steps_are_refused() {
        let refused = missing_steps("queue", &STEPS[..1], Some(&at(2))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the tables of context `queue` are not usable: they are at version 2, this program knows up to 1; \
             use the newer program"
        );
        let other = Applied { version: 1, checksum: checksum(&["CREATE TABLE b (x)"]) };
        assert!(matches!(
            missing_steps("queue", STEPS, Some(&other)),
            Err(DatabaseError::Schema { problem: SchemaProblem::Changed { version: 1 }, .. })
        ));
    }

    #[test]
    fn moving_text_from_one_step_to_the_next_is_another_list() {
        assert_ne!(checksum(&["ab", "c"]), checksum(&["a", "bc"]));
    }
}
