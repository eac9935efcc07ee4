//! Tells tests whether the MovieLens data set is there, and whether there are servers with proxies of their own, so that
//! those that need them show as ignored if not.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(movielens)");
    println!("cargo::rerun-if-env-changed=RECSTORE_TEST_DATA");
    let folder = std::env::var_os("RECSTORE_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let ratings = folder.join("ml-latest-small/ratings.csv");
    println!("cargo::rerun-if-changed={}", ratings.display());
    if ratings.is_file() {
        println!("cargo::rustc-cfg=movielens");
        println!("cargo::rustc-env=RECSTORE_MOVIELENS={}", ratings.display());
    }
    println!("cargo::rustc-check-cfg=cfg(fault_proxy)");
    let given = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_DYNAMODB"].map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    });
    if given != [true, true] {
        println!("cargo::rustc-cfg=fault_proxy");
    }
}
