//! The servers as tests get them: built, started, shared, ended; and their proxies.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use recstore_test_cloud::{Action, Cloud, Credentials, Rule, Side, Stage};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Asks DynamoDB for its tables; the answer's first line, or how it failed.
fn list_tables(endpoint: &str) -> Result<String, ErrorKind> {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).map_err(|error| error.kind())?;
    let credential = "Credential=test/20260101/us-east-1/dynamodb/aws4_request";
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.0\r\n\
         x-amz-target: DynamoDB_20120810.ListTables\r\nx-amz-date: 20260101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature=00\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.kind())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
    let line = answer.lines().next().ok_or(ErrorKind::UnexpectedEof)?;
    Ok(line.to_owned())
}

#[test]
fn all_tests_of_a_process_share_one_pair_of_servers() {
    let clouds: Vec<_> = (0..4).map(|_| std::thread::spawn(|| Cloud::get().unwrap())).collect();
    let clouds: Vec<_> = clouds.into_iter().map(|cloud| cloud.join().unwrap()).collect();
    assert!(clouds.iter().all(|cloud| std::ptr::eq(*cloud, clouds[0])));
    assert_eq!(list_tables(clouds[0].dynamodb_endpoint()).unwrap(), "HTTP/1.1 200 OK");
}

#[test]
fn servers_of_ones_own_end_when_they_are_dropped() {
    let cloud = Cloud::start().unwrap();
    let endpoint = cloud.dynamodb_endpoint().to_owned();
    assert!(list_tables(&endpoint).is_ok());
    drop(cloud);
    assert_eq!(list_tables(&endpoint), Err(ErrorKind::ConnectionRefused));
}

#[test]
fn names_are_unique_and_fit_for_buckets() {
    let cloud = Cloud::get().unwrap();
    let names = [cloud.unique_name("lake"), cloud.unique_name("lake")];
    assert_ne!(names[0], names[1]);
    for name in names {
        assert!(name.starts_with("lake-") && name.len() <= 63);
        assert!(
            name.chars().all(|character| character.is_ascii_lowercase() || "-0123456789".contains(character))
        );
    }
}

#[test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
fn a_proxy_does_what_its_rules_order_and_counts_requests() {
    let cloud = Cloud::get().unwrap();
    let (proxy, other) = (cloud.proxy().unwrap(), cloud.proxy().unwrap());
    let throttled =
        proxy.add(&Rule::dynamodb(Action::throttling()).operation("ListTables").first(1)).unwrap();
    let lost = proxy.add(&Rule::dynamodb(Action::LoseAnswer).nth(1)).unwrap();
    let endpoint = proxy.dynamodb_endpoint();
    assert_eq!(list_tables(endpoint).unwrap(), "HTTP/1.1 400 Bad Request");
    assert_eq!(list_tables(endpoint), Err(ErrorKind::ConnectionReset));
    assert_eq!(list_tables(endpoint).unwrap(), "HTTP/1.1 200 OK");
    assert_eq!((proxy.fired(throttled).unwrap(), proxy.fired(lost).unwrap()), (1, 1));

    let counts = proxy.counts().unwrap().side(Side::DynamoDb).operation("ListTables");
    assert_eq!((counts.requests(), counts.forwarded(), counts.faults()), (3, 2, 2));
    assert_eq!((counts.request_bytes(), other.counts().unwrap().requests()), (6, 0));
    proxy.reset_counts().unwrap();
    assert_eq!(proxy.counts().unwrap().requests(), 0);

    proxy.clear().unwrap();
    assert!(proxy.rules().unwrap().is_empty());
    assert!(proxy.fired(lost).is_err() && proxy.remove(lost).is_err());
    let endpoint = endpoint.to_owned();
    drop(proxy);
    assert_eq!(list_tables(&endpoint), Err(ErrorKind::ConnectionRefused));
}

#[test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
fn removing_a_rule_lets_go_what_it_holds() {
    let proxy = Cloud::get().unwrap().proxy().unwrap();
    let held = proxy.add(&Rule::dynamodb(Action::stall(Stage::BeforeRequest))).unwrap();
    std::thread::scope(|scope| {
        let request = scope.spawn(|| list_tables(proxy.dynamodb_endpoint()));
        while proxy.fired(held).unwrap() == 0 {
            std::thread::yield_now();
        }
        assert!(!request.is_finished());
        assert_eq!(proxy.counts().unwrap().forwarded(), 0);
        proxy.remove(held).unwrap();
        assert_eq!(request.join().unwrap().unwrap(), "HTTP/1.1 200 OK");
    });
}

#[test]
#[cfg_attr(not(fault_proxy), ignore = "needs servers of this workspace, not those of AWS_ENDPOINT_URL_S3")]
fn the_program_understands_further_credentials() {
    let credentials = Credentials { access_key: "another".to_owned(), secret_key: "secret".to_owned() };
    Cloud::get().unwrap().accept(&credentials).unwrap();
}

/// Runs itself again as a process with the endpoints in its environment.
#[test]
fn servers_of_the_environment_are_taken_and_have_no_faults() {
    const NAME: &str = "servers_of_the_environment_are_taken_and_have_no_faults";
    const CHILD: &str = "RECSTORE_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", NAME]).env(CHILD, "1");
        child.env("AWS_ENDPOINT_URL_S3", "http://s3.test").env("AWS_ENDPOINT_URL_DYNAMODB", "http://db.test");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let cloud = Cloud::get().unwrap();
    assert_eq!((cloud.s3_endpoint(), cloud.dynamodb_endpoint()), ("http://s3.test", "http://db.test"));
    assert!(!cloud.has_faults());
    assert_eq!(cloud.proxy().unwrap_err().kind(), ErrorKind::Unsupported);
}
