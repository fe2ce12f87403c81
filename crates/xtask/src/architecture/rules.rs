//! The rules themselves. Each is a plain function that adds what it finds.

use super::workspace::{Package, SourceFile, Workspace};

const CONTEXTS: [&str; 6] = ["processing", "caching", "queue", "monitoring", "database", "external"];

/// Crates that a context may use in its adapters only.
const DRIVERS: [&str; 22] = [
    "diesel",
    "diesel_async",
    "earshot",
    "flacenc",
    "fred",
    "h2",
    "http_body_util",
    "hyper",
    "hyper_util",
    "libsqlite3_sys",
    "mp4_atom",
    "prost",
    "redis",
    "reqwest",
    "ropus",
    "rubato",
    "rustls",
    "symphonia",
    "tokio_postgres",
    "tokio_postgres_rustls",
    "tokio_rustls",
    "webpki_roots",
];

/// The one module whose public items may name a driver: this file, and those in the folder of its name.
const HATCH: (&str, &str) = ("database", "adapters/diesel_async_0_9");

/// Each domain service: its context, its trait, and the files of its default implementations.
const SERVICES: [(&str, &str, &[&str]); 20] = [
    ("processing", "ChunkSizer", &["dynamic_chunk_sizer"]),
    ("processing", "Orchestrator", &["parallel_orchestrator"]),
    ("processing", "TimestampAdjuster", &["seam_timestamp_adjuster"]),
    ("caching", "ContentAddresser", &["sha256_content_addresser"]),
    ("caching", "Cache", &["multi_level_cache"]),
    ("caching", "CacheInvalidator", &["tag_cache_invalidator"]),
    ("caching", "CacheWarmer", &["frequency_cache_warmer"]),
    ("queue", "JobDispatcher", &["least_loaded_job_dispatcher"]),
    ("queue", "PriorityManager", &["aging_priority_manager"]),
    ("queue", "RetryHandler", &["backoff_retry_handler"]),
    ("monitoring", "MetricsCollector", &["sketch_metrics_collector"]),
    ("monitoring", "Aggregator", &["sketch_aggregator"]),
    ("monitoring", "AlertEvaluator", &["rule_alert_evaluator"]),
    ("database", "ConnectionPoolManager", &["diesel_connection_pool_manager"]),
    ("database", "QueryOptimizer", &["postgres_query_optimizer", "sqlite_query_optimizer"]),
    ("database", "IndexManager", &["postgres_index_manager", "sqlite_index_manager"]),
    ("external", "ConnectionPoolManager", &["http2_connection_pool_manager"]),
    ("external", "RateLimitHandler", &["adaptive_rate_limit_handler"]),
    ("external", "SpeechApi", &["http_speech_api"]),
    ("kernel", "Clock", &["clock"]),
];

const MAX_LINES: usize = 500;
const MAX_LIB_LINES: usize = 60;
const KERNEL_MAX_LINES: usize = 600;
const KERNEL_MAX_TYPES: usize = 8;

/// Everything that is not as it should be, a sentence each.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        check_lints(package, &mut found);
        check_edges(package, &mut found);
        check_drivers_are_optional(package, &mut found);
    }
    for file in &workspace.files {
        check_size(file, &mut found);
        check_layout(file, &mut found);
        check_drivers(file, &mut found);
        check_metrics(file, &mut found);
    }
    check_services(workspace, &mut found);
    check_kernel(workspace, &mut found);
    found.sort();
    found
}

fn check_lints(package: &Package, found: &mut Vec<String>) {
    let mut lines = package.manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]");
    if lines.nth(1) != Some("workspace = true") {
        found.push(format!("{}: `[lints] workspace = true` is missing", package.name));
    }
}

/// Whether `from` may depend on the member `to`.
fn is_allowed(from: &str, to: &str) -> bool {
    let context =
        |name: &str| CONTEXTS.iter().find(|context| name == format!("wavequill-{context}")).copied();
    match (context(from), to) {
        (Some(_), "wavequill-kernel") | (Some("caching" | "queue"), "wavequill-database") => true,
        (Some(_), _) => false,
        (None, _) if from == "wavequill-kernel" || from == "xtask" => false,
        (None, to) if from == "wavequill" => to == "wavequill-kernel" || context(to).is_some(),
        // Examples and benches stand outside.
        (None, _) => true,
    }
}

fn check_edges(package: &Package, found: &mut Vec<String>) {
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        if to.starts_with("wavequill") && to != package.name && !is_allowed(&package.name, to) {
            found.push(format!("{}: may not depend on {to}: contexts do not know each other", package.name));
        }
        if package.name == "wavequill-kernel" && !dependency.is_dev && to != "serde" {
            found.push(format!("wavequill-kernel: may not depend on {to}: it has std, and serde at most"));
        }
    }
}

fn check_drivers_are_optional(package: &Package, found: &mut Vec<String>) {
    if !CONTEXTS.iter().any(|context| package.name == format!("wavequill-{context}")) {
        return;
    }
    for dependency in &package.dependencies {
        let is_driver = DRIVERS.contains(&dependency.name.replace('-', "_").as_str());
        if is_driver && !dependency.is_dev && !dependency.is_optional {
            found.push(format!(
                "{}: the driver {} must be optional, behind a feature",
                package.name, dependency.name
            ));
        }
    }
}

fn lines_before_tests(file: &SourceFile) -> usize {
    file.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

fn check_size(file: &SourceFile, found: &mut Vec<String>) {
    let limit = if file.path == "lib.rs" { MAX_LIB_LINES } else { MAX_LINES };
    let lines = lines_before_tests(file);
    if lines > limit {
        found
            .push(format!("{}/{}: {lines} lines before its tests, at most {limit}", file.context, file.path));
    }
}

fn check_layout(file: &SourceFile, found: &mut Vec<String>) {
    if file.path.ends_with("mod.rs") {
        found.push(format!("{}/{}: a module's file has its name, not `mod.rs`", file.context, file.path));
    }
}

fn is_adapter(file: &SourceFile) -> bool {
    file.path.starts_with("adapters/") || file.path == "adapters.rs"
}

/// Test kits are no part of what a context offers in production: a test server may use a driver to listen.
fn is_test_kit(file: &SourceFile) -> bool {
    file.path.starts_with("testing/") || file.path == "testing.rs"
}

fn check_drivers(file: &SourceFile, found: &mut Vec<String>) {
    if !CONTEXTS.contains(&file.context.as_str()) || is_test_kit(file) {
        return;
    }
    check_database(file, found);
    let is_hatch = file.context == HATCH.0 && file.path.starts_with(HATCH.1);
    for (number, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let Some(driver) = DRIVERS.iter().find(|driver| names_crate(code, driver)) else { continue };
        if !is_adapter(file) {
            found.push(format!(
                "{}/{}:{}: the driver {driver} outside `adapters/`",
                file.context,
                file.path,
                number + 1
            ));
        } else if !is_hatch && is_public_item(code) {
            found.push(format!(
                "{}/{}:{}: the driver {driver} in a public item",
                file.context,
                file.path,
                number + 1
            ));
        }
    }
}

/// The one edge between contexts may be used by adapters only.
fn check_database(file: &SourceFile, found: &mut Vec<String>) {
    let uses = |line: &str| names_crate(line.split("//").next().unwrap_or_default(), "wavequill_database");
    if file.context != "database"
        && !is_adapter(file)
        && file.text.lines().take(lines_before_tests(file)).any(uses)
    {
        found.push(format!("{}/{}: `database` outside `adapters/`", file.context, file.path));
    }
}

/// Whether the code has `driver::` or `use driver`, as a whole word.
fn names_crate(code: &str, driver: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(driver).any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        let after = code.get(at + driver.len()..).unwrap_or_default();
        let starts = !before.ends_with(is_word) && !before.ends_with("::") && !before.ends_with('.');
        starts && (after.starts_with("::") || (before.trim_end().ends_with("use") && after.starts_with(';')))
    })
}

fn is_public_item(code: &str) -> bool {
    let code = code.trim_start();
    code.starts_with("pub fn")
        || code.starts_with("pub async fn")
        || code.starts_with("pub use")
        || code.starts_with("pub type")
}

fn check_metrics(file: &SourceFile, found: &mut Vec<String>) {
    let emits = ["metrics::counter!", "metrics::gauge!", "metrics::histogram!"];
    let is_kit = is_test_kit(file) || file.context == "xtask";
    let mut code = file
        .text
        .lines()
        .take(lines_before_tests(file))
        .map(|line| line.split("//").next().unwrap_or_default());
    if file.path != "metrics.rs" && !is_kit && code.any(|line| emits.iter().any(|emit| line.contains(emit))) {
        found.push(format!("{}/{}: a metrics macro outside `metrics.rs`", file.context, file.path));
    }
}

fn check_services(workspace: &Workspace, found: &mut Vec<String>) {
    for (context, service, files) in SERVICES {
        let own = || workspace.files.iter().filter(|file| file.context == context);
        let declaration = format!("pub trait {service}");
        if !own().any(|file| file.text.lines().any(|line| is_declared(line, &declaration))) {
            found.push(format!("{context}: the trait {service} is missing"));
        }
        for name in files {
            if !own().any(|file| file.path == format!("{name}.rs")) {
                found.push(format!("{context}: the file {name}.rs of {service} is missing"));
            }
        }
    }
}

fn is_declared(line: &str, declaration: &str) -> bool {
    line.strip_prefix(declaration).is_some_and(|rest| rest.starts_with([':', ' ', '<']))
}

fn check_kernel(workspace: &Workspace, found: &mut Vec<String>) {
    let files = || workspace.files.iter().filter(|file| file.context == "kernel" && !is_test_kit(file));
    let lines: usize = files().map(lines_before_tests).sum();
    if lines > KERNEL_MAX_LINES {
        found.push(format!("kernel: {lines} lines, at most {KERNEL_MAX_LINES}"));
    }
    let is_type =
        |line: &&str| ["pub struct", "pub enum", "pub trait"].iter().any(|item| line.starts_with(item));
    let types = files().flat_map(|file| file.text.lines()).filter(is_type).count();
    if types > KERNEL_MAX_TYPES {
        found.push(format!("kernel: {types} public types, at most {KERNEL_MAX_TYPES}"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::workspace::Dependency;
    use super::*;

    fn this_workspace() -> Workspace {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        Workspace::read(root).unwrap()
    }

    /// What the rules say once something has been planted, less what they say of the workspace as it is.
    fn found_after(plant: impl FnOnce(&mut Workspace)) -> Vec<String> {
        let mut workspace = this_workspace();
        let before = check(&workspace);
        plant(&mut workspace);
        check(&workspace).into_iter().filter(|violation| !before.contains(violation)).collect()
    }

    fn package<'a>(workspace: &'a mut Workspace, name: &str) -> &'a mut Package {
        workspace.packages.iter_mut().find(|package| package.name == name).unwrap()
    }

    fn edge(name: &str) -> Dependency {
        Dependency { name: name.to_owned(), is_dev: false, is_optional: false }
    }

    fn file(context: &str, path: &str, text: &str) -> SourceFile {
        SourceFile { context: context.to_owned(), path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn this_workspace_is_as_its_architecture_says() {
        assert_eq!(check(&this_workspace()), Vec::<String>::new());
    }

    #[test]
    fn an_edge_between_two_contexts_is_found() {
        for (from, to) in [
            ("wavequill-caching", "wavequill-external"),
            ("wavequill-processing", "wavequill-database"),
            ("wavequill-database", "wavequill"),
            ("wavequill-kernel", "wavequill-caching"),
            ("wavequill-external", "wavequill-monitoring"),
        ] {
            let found = found_after(|workspace| package(workspace, from).dependencies.push(edge(to)));
            assert!(
                found.iter().any(|violation| violation.contains(&format!("may not depend on {to}"))),
                "{from} {to}"
            );
        }
        let allowed = found_after(|workspace| {
            package(workspace, "wavequill-queue").dependencies.push(edge("wavequill-database"));
        });
        assert_eq!(allowed, Vec::<String>::new());
    }

    #[test]
    fn a_dependency_of_the_kernel_is_found() {
        let found =
            found_after(|workspace| package(workspace, "wavequill-kernel").dependencies.push(edge("tokio")));
        assert_eq!(found, ["wavequill-kernel: may not depend on tokio: it has std, and serde at most"]);
    }

    #[test]
    fn a_driver_outside_adapters_is_found() {
        let plant = |path: &'static str, text: &'static str| {
            found_after(|workspace| workspace.files.push(file("caching", path, text)))
        };
        assert_eq!(
            plant("planted.rs", "use fred::prelude::*;\n"),
            ["caching/planted.rs:1: the driver fred outside `adapters/`"]
        );
        assert_eq!(plant("planted.rs", "    let x = diesel::insert_into(t);\n").len(), 1);
        assert_eq!(plant("planted.rs", "// fred::Client is not used here\n").len(), 0);
        assert_eq!(plant("planted.rs", "use alfred::Butler;\n").len(), 0);
        assert_eq!(plant("adapters/planted.rs", "use fred::prelude::*;\n").len(), 0);
    }

    #[test]
    fn a_driver_in_a_public_signature_is_found() {
        let public = "pub fn client(&self) -> fred::Client {\n";
        let plant = |text: &str| {
            found_after(|workspace| workspace.files.push(file("caching", "adapters/planted.rs", text)))
        };
        assert_eq!(plant(public), ["caching/adapters/planted.rs:1: the driver fred in a public item"]);
        assert_eq!(plant("pub(crate) fn client(&self) -> fred::Client {\n").len(), 0);
    }

    #[test]
    fn the_database_outside_adapters_is_found() {
        let text = "use wavequill_database::SqlitePool;\n";
        let plant = |path: &str| found_after(|workspace| workspace.files.push(file("queue", path, text)));
        assert_eq!(plant("planted.rs"), ["queue/planted.rs: `database` outside `adapters/`"]);
        assert_eq!(plant("adapters/planted.rs").len(), 0);
    }

    #[test]
    fn a_driver_without_a_feature_is_found() {
        let found = found_after(|workspace| {
            package(workspace, "wavequill-external").dependencies.push(edge("reqwest"));
        });
        assert_eq!(found, ["wavequill-external: the driver reqwest must be optional, behind a feature"]);
    }

    #[test]
    fn a_missing_service_file_is_found() {
        let found =
            found_after(|workspace| workspace.files.retain(|file| file.path != "multi_level_cache.rs"));
        assert!(
            found.contains(&"caching: the file multi_level_cache.rs of Cache is missing".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn a_missing_trait_is_found() {
        let found = found_after(|workspace| {
            for file in &mut workspace.files {
                file.text = file.text.replace("pub trait RetryHandler", "trait RetryHandler");
            }
        });
        assert_eq!(found, ["queue: the trait RetryHandler is missing"]);
    }

    #[test]
    fn a_file_that_grew_too_long_is_found() {
        let long = "//\n".repeat(501);
        let found = found_after(|workspace| workspace.files.push(file("queue", "planted.rs", &long)));
        assert_eq!(found, ["queue/planted.rs: 501 lines before its tests, at most 500"]);
        let tested = format!("{}#[cfg(test)]\n{}", "//\n".repeat(500), "//\n".repeat(500));
        let found = found_after(|workspace| workspace.files.push(file("queue", "planted.rs", &tested)));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn missing_lints_are_found() {
        let found = found_after(|workspace| package(workspace, "wavequill-queue").manifest.clear());
        assert_eq!(found, ["wavequill-queue: `[lints] workspace = true` is missing"]);
    }

    #[test]
    fn a_metrics_macro_elsewhere_is_found() {
        let found = found_after(|workspace| {
            workspace.files.push(file("queue", "planted.rs", "metrics::counter!(\"x\");"));
        });
        assert_eq!(found, ["queue/planted.rs: a metrics macro outside `metrics.rs`"]);
    }
}
