//! Rules of the repository that a machine can check.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

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

#[test]
fn every_dependency_has_its_row_in_contributing() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, table) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let (table, _) = table.split_once("\n[").unwrap();
    let names: Vec<_> =
        table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    assert!(names.contains(&"serde"), "{names:?}");
    for name in names.into_iter().filter(|name| !name.starts_with("recstore")) {
        assert!(contributing.contains(&format!("| `{name}` |")), "{name} has no row in CONTRIBUTING.md");
    }
}

#[test]
fn the_quick_start_of_the_readme_is_the_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("examples/quickstart.rs")).unwrap();
    let (_, program) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust,no_run\n{program}```\n")), "they differ");
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
