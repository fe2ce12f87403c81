//! What the rules look at: the packages as cargo sees them, and the source files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The members of the workspace and their sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) files: Vec<SourceFile>,
}

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One edge from a member.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) is_dev: bool,
    pub(crate) is_optional: bool,
}

/// A Rust file of `crates/<folder>/src`.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// The folder below `crates/`: the context.
    pub(crate) context: String,
    /// The path below `src/`, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Workspace {
    /// Reads the workspace at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(root.join("crates")).context("no folder `crates`")? {
            let folder = entry?;
            let context = folder.file_name().to_string_lossy().into_owned();
            let source = folder.path().join("src");
            collect(&source, &source, &context, &mut files)?;
        }
        Ok(Self { packages: packages(root)?, files })
    }
}

fn collect(source: &Path, folder: &Path, context: &str, files: &mut Vec<SourceFile>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(source, &path, context, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below: Vec<_> =
                path.strip_prefix(source)?.iter().map(|part| part.to_string_lossy()).collect();
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push(SourceFile { context: context.to_owned(), path: below.join("/"), text });
        }
    }
    Ok(())
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    list(&metadata(root)?, "packages").iter().map(package).collect()
}

/// What cargo says of the workspace at `root`, without its dependencies.
pub(crate) fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")
}

fn package(value: &Value) -> Result<Package> {
    let manifest = PathBuf::from(text(value, "manifest_path"));
    Ok(Package {
        name: text(value, "name").to_owned(),
        manifest: std::fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?,
        dependencies: list(value, "dependencies")
            .iter()
            .map(|dependency| Dependency {
                name: text(dependency, "name").to_owned(),
                is_dev: text(dependency, "kind") == "dev",
                is_optional: dependency.get("optional").and_then(Value::as_bool).unwrap_or_default(),
            })
            .collect(),
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
