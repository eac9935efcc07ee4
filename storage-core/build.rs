//! Says by `cfg(movielens)` whether MovieLens `ml-latest-small` is there for the tests that compare with it:
//! below `$RECSTORE_TEST_DATA`, or below `../shared/data` beside the project.

use std::path::PathBuf;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(movielens)");
    println!("cargo::rerun-if-env-changed=RECSTORE_TEST_DATA");
    let data = match std::env::var_os("RECSTORE_TEST_DATA") {
        Some(data) => PathBuf::from(data),
        None => {
            let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
            package.join("../../shared/data")
        }
    };
    let ratings = data.join("ml-latest-small").join("ratings.csv");
    // A path that is not there must not be watched: it would count as changed at every build.
    println!("cargo::rerun-if-changed=build.rs");
    if ratings.is_file() {
        println!("cargo::rerun-if-changed={}", ratings.display());
        println!("cargo::rustc-cfg=movielens");
        println!("cargo::rustc-env=RECSTORE_MOVIELENS={}", ratings.display());
    }
}
