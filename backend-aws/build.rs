//! Says by `cfg(fault_proxy)` whether the tests have servers of their own, with proxies, and not those that the
//! environment gives: so that tests which need a proxy show as ignored where there is none. And by `cfg(open_data)`
//! whether `RECSTORE_OPEN_DATA=1` asks for the tests that install other tools.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(fault_proxy)");
    let given = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_DYNAMODB"].map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    });
    if given != [true, true] {
        println!("cargo::rustc-cfg=fault_proxy");
    }
    println!("cargo::rustc-check-cfg=cfg(open_data)");
    println!("cargo::rerun-if-env-changed=RECSTORE_OPEN_DATA");
    if std::env::var_os("RECSTORE_OPEN_DATA").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=open_data");
    }
}
