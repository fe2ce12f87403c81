//! The dependency rules and the shape of the tree, checked on what cargo and the files say.
//!
//! [`check`] is a pure function of a [`Workspace`], so that its tests can plant what it must find.

mod rules;
mod workspace;

use anyhow::{Result, bail};

use rules::check;
use workspace::Workspace;

pub(crate) use workspace::metadata;

/// Checks this workspace.
pub(crate) fn run() -> Result<()> {
    let violations = check(&Workspace::read(&crate::root()?)?);
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("the architecture is as docs/architecture.md says");
        return Ok(());
    }
    bail!("{} violations of docs/architecture.md", violations.len())
}
