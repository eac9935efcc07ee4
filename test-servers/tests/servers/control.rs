//! The program: its first line, its control port, and its end.

use crate::clients::{code, s3_client};
use aws_sdk_s3::config::retry::RetryConfig;
use recstore_test_cloud::Ports;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn start() -> (Child, Ports) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_recstore-test-servers"));
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (program, serde_json::from_str(&line).unwrap())
}

/// The status and the value that a request to a port is answered with.
fn call(port: u16, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (body, head) =
        (body.to_string(), format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close"));
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn the_program_ends_with_its_standard_input() {
    let (mut program, ports) = start();
    assert!(TcpStream::connect(("127.0.0.1", ports.s3)).is_ok());
    drop(program.stdin.take());
    let begun = Instant::now();
    let status = loop {
        match program.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begun.elapsed() < Duration::from_secs(20), "it goes on"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    assert!(TcpStream::connect(("127.0.0.1", ports.s3)).is_err());
}

#[test]
fn proxies_are_opened_ordered_and_closed_at_the_control_port() {
    let (mut program, ports) = start();
    let (status, proxy) = call(ports.control, "POST", "/proxies", &Value::Null);
    assert_eq!((status, &proxy["id"]), (200, &json!(1)));
    let rule = json!({"side": "s3", "operation": "ListBuckets", "when": {"first": 1}, "action": {"answer": {"status": 503, "code": "SlowDown"}}});
    assert_eq!(call(ports.control, "POST", "/proxies/1/rules", &rule), (200, json!(1)));
    let port = u16::try_from(proxy["s3"].as_u64().unwrap()).unwrap();
    assert_eq!(call(port, "GET", "/", &Value::Null).0, 503);
    // Without a signature.
    assert_eq!(call(port, "GET", "/", &Value::Null).0, 403);
    let (_, rules) = call(ports.control, "GET", "/proxies/1/rules", &Value::Null);
    assert_eq!((&rules[0]["matched"], &rules[0]["fired"]), (&json!(2), &json!(1)));
    let (_, counts) = call(ports.control, "GET", "/proxies/1/counts", &Value::Null);
    assert_eq!((&counts[0]["requests"], &counts[0]["forwarded"]), (&json!(2), &json!(1)));
    assert_eq!(call(ports.control, "DELETE", "/proxies/1/rules/1", &Value::Null).0, 200);
    assert_eq!(call(ports.control, "DELETE", "/proxies/1/rules/1", &Value::Null).0, 404);
    assert_eq!(call(ports.control, "DELETE", "/proxies/1", &Value::Null).0, 200);
    assert_eq!(call(ports.control, "GET", "/proxies/1/counts", &Value::Null).0, 404);
    drop(program.stdin.take());
    program.wait().unwrap();
}

#[test]
fn a_rule_that_is_misspelt_is_refused() {
    let (mut program, ports) = start();
    call(ports.control, "POST", "/proxies", &Value::Null);
    let rule = json!({"side": "s3", "operatoin": "PutObject", "action": "reset"});
    let (status, why) = call(ports.control, "POST", "/proxies/1/rules", &rule);
    assert_eq!(status, 400);
    assert!(why.as_str().unwrap().contains("operatoin"), "{why}");
    drop(program.stdin.take());
    program.wait().unwrap();
}

#[tokio::test]
async fn credentials_are_accepted_from_when_they_are_told() {
    let (mut program, ports) = start();
    let endpoint = format!("http://127.0.0.1:{}", ports.s3);
    let client = s3_client(&endpoint, "another", RetryConfig::disabled());
    assert_eq!(code(client.list_buckets().send().await), "SignatureDoesNotMatch");
    let credentials = json!({"access_key": "test", "secret_key": "another"});
    assert_eq!(call(ports.control, "POST", "/credentials", &credentials).0, 200);
    assert!(client.list_buckets().send().await.unwrap().buckets().is_empty());
    drop(program.stdin.take());
    program.wait().unwrap();
}
