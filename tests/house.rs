//! Rules of the repository that a machine can check.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the packages that are compiled for these arguments of `cargo tree`.
fn packages(arguments: &[&str]) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .current_dir(root())
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    String::from_utf8(output.stdout).unwrap().lines().map(name).collect()
}

fn heavy(package: &str) -> bool {
    ["aws-", "arrow", "parquet", "object_store", "deltalake", "datafusion", "lance"]
        .iter()
        .any(|prefix| package.starts_with(prefix))
}

#[test]
fn the_sqlite_feature_pulls_in_no_aws_arrow_or_parquet_crate() {
    let packages = packages(&["-p", "recstore", "--no-default-features", "--features", "sqlite"]);
    assert!(
        packages.iter().any(|package| package == "rusqlite"),
        "the tree is not that of sqlite: {packages:?}"
    );
    let found: Vec<_> = packages.iter().filter(|package| heavy(package)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn without_features_no_sqlite_is_compiled() {
    let packages = packages(&["-p", "recstore", "--no-default-features"]);
    assert!(packages.iter().any(|package| package == "recstore-core"), "{packages:?}");
    let found: Vec<_> =
        packages.iter().filter(|package| package.contains("sqlite") || heavy(package)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_core_knows_no_backend() {
    let packages = packages(&["-p", "recstore-core"]);
    let found: Vec<_> = packages
        .iter()
        .filter(|package| package.starts_with("recstore") && *package != "recstore-core")
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// The names in `[workspace.dependencies]`, without those of this repository.
fn shared_dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, table) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let (table, _) = table.split_once("\n[").unwrap();
    let names = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.to_owned());
    let names: Vec<_> = names.filter(|name| !name.starts_with("recstore")).collect();
    assert!(names.iter().any(|name| name == "serde"), "{names:?}");
    names
}

/// The manifests of all packages.
fn manifests() -> String {
    let mut text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, members) = text.split_once("\nmembers = [").unwrap();
    let members: Vec<_> =
        members.split(']').next().unwrap().split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(members.iter().any(|member| member == "storage-core"), "{members:?}");
    for member in members {
        text += &fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
    }
    text
}

#[test]
fn dependencies_and_their_rows_in_contributing_are_the_same() {
    let names = shared_dependencies();
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, table) = contributing.split_once("\n## Dependencies\n").unwrap();
    let rows: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(rows, names, "the rows of CONTRIBUTING.md, and Cargo.toml");
}

#[test]
fn every_shared_dependency_is_used_and_every_package_takes_it_from_there() {
    let manifests = manifests();
    for name in shared_dependencies() {
        let used = [format!("\n{name}.workspace = true"), format!("\n{name} = {{ workspace = true")];
        assert!(used.iter().any(|line| manifests.contains(line)), "{name} is used by no package");
    }
    let own: Vec<_> = manifests.lines().filter(|line| line.contains("= { version = ")).collect();
    let shared = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let stray: Vec<_> = own.into_iter().filter(|line| !shared.contains(line)).collect();
    assert!(stray.is_empty(), "versions stand in the workspace's table: {stray:?}");
}

#[test]
fn the_quick_start_of_the_readme_is_the_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("examples/quickstart.rs")).unwrap();
    let (_, program) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust,no_run\n{program}```\n")), "they differ");
}

/// Every name in backticks that looks like that of a test: words joined by underscores, with its path or without.
fn tests_named_in(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |name: &&str| {
        name.matches('_').count() >= 3
            && name
                .chars()
                .all(|character| character.is_ascii_lowercase() || "_0123456789".contains(character))
    };
    quoted.filter_map(|text| text.rsplit("::").next()).filter(is_name).collect()
}

#[test]
fn the_tests_that_reliability_names_exist() {
    let mut files = Vec::new();
    rust_files(root(), &mut files);
    let sources: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let text = fs::read_to_string(root().join("RELIABILITY.md")).unwrap();
    let names = tests_named_in(&text);
    assert!(names.len() > 20, "{names:?}");
    // A test is a function, or a row of a macro that makes functions.
    let exists = |name: &str| {
        let forms = [format!("fn {name}("), format!(" {name}: "), format!("{name},"), format!("{name};")];
        sources.iter().any(|source| forms.iter().any(|form| source.contains(form.as_str())))
    };
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "no test has these names: {missing:?}");
    assert!(!text.contains("@@"), "a figure is missing");
}

#[test]
fn the_variables_of_tests_and_benchmarks_are_the_rows_of_contributing() {
    let mut files = Vec::new();
    rust_files(root(), &mut files);
    // What users set stands in the README.
    files.retain(|file| !file.starts_with(root().join("cli/src")) && !file.starts_with(root().join("src")));
    files.push(root().join("fuzz/run"));
    let sources: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let read: BTreeSet<&str> = ["var(\"", "var_os(\"", "from_env(\"", "number(\"", "=${"]
        .iter()
        .flat_map(|reader| sources.split(reader).skip(1))
        .map(|text| {
            text.split(|end: char| end != '_' && !end.is_ascii_uppercase()).next().unwrap_or_default()
        })
        .filter(|name| name.starts_with("RECSTORE_"))
        .collect();
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let rows = contributing.lines().filter_map(|line| line.strip_prefix("| `RECSTORE_")?.split_once('`'));
    let rows: Vec<String> = rows.map(|(name, _)| format!("RECSTORE_{name}")).collect();
    assert_eq!(rows.iter().map(String::as_str).collect::<BTreeSet<_>>(), read);
    assert_eq!(rows.len(), read.len(), "a row stands twice");
}

#[test]
fn ignored_tests_say_why() {
    let mut files = Vec::new();
    rust_files(root(), &mut files);
    assert!(files.iter().any(|file| file.ends_with("tests/house.rs")), "the sources were not found");
    // Put together here, so that this file does not find itself.
    let bare = ["#[", "ignore", "]"].concat();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&bare), "{} ignores a test without a reason", file.display());
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let built = name == "target" || name.to_string_lossy().starts_with('.');
        if path.is_dir() && !built {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
