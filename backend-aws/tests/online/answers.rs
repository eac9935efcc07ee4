//! What the SDK makes of answers, over a real connection.

use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use recstore_aws::config::AwsConfig;
use recstore_aws::online::calls::{DynamoCalls, Fault, GotBatch, Query, QueryPage, Write, WroteBatch};
use recstore_aws::online::client::client;
use recstore_aws::online::keys::ItemKey;
use recstore_aws::online::sdk::SdkCalls;
use recstore_core::ErrorKind;

/// Reads one request, whole, and answers it with success and this body.
fn answer(mut connection: TcpStream, body: &str) {
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    let whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let (head, sent) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
        Some(sent.len() >= length.trim().parse::<usize>().ok()?)
    };
    while whole(&request) != Some(true) {
        let length = connection.read(&mut part).unwrap();
        assert!(length > 0, "a request was cut");
        request.extend_from_slice(&part[..length]);
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close\r\n";
    write!(connection, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
}

/// Calls to a server that has these answers, one after the other.
fn calls(answers: &'static [&'static str]) -> SdkCalls {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for body in answers {
            answer(listener.accept().unwrap().0, body);
        }
    });
    let http = aws_smithy_http_client::Builder::new().build_http();
    let environment = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")))
        .sleep_impl(aws_sdk_dynamodb::config::SharedAsyncSleep::new(TokioSleep))
        .http_client(http)
        .build();
    let config = AwsConfig { endpoint_url: Some(endpoint), ..AwsConfig::default() };
    SdkCalls::new(client(&environment, &config).unwrap())
}

#[derive(Debug)]
struct TokioSleep;

impl aws_sdk_dynamodb::config::AsyncSleep for TokioSleep {
    fn sleep(&self, duration: std::time::Duration) -> aws_sdk_dynamodb::config::Sleep {
        aws_sdk_dynamodb::config::Sleep::new(tokio::time::sleep(duration))
    }
}

fn key() -> ItemKey {
    ItemKey::new("ns#1", "a").unwrap()
}

fn query() -> Query {
    let (partition, from, to) = ("ns#1".to_owned(), "a".to_owned(), "b".to_owned());
    Query { partition, from, to, descending: false, limit: 1, after: None }
}

#[tokio::test]
async fn an_answer_without_content_is_neither_missing_nor_written() {
    // The SDK reads an empty body as an answer that says nothing.
    let calls = calls(&["", "{}", "", "{}", "", "{}"]);
    for _ in 0..2 {
        let failure = calls.get_batch("t", &[key()]).await.unwrap_err();
        assert_eq!((failure.fault, failure.kind), (Fault::Unknown, ErrorKind::Unavailable));
    }
    for _ in 0..2 {
        let failure = calls.write_batch("t", &[Write::Delete(key())]).await.unwrap_err();
        assert_eq!((failure.fault, failure.kind), (Fault::Unknown, ErrorKind::Unavailable));
    }
    for _ in 0..2 {
        let failure = calls.query("t", &query()).await.unwrap_err();
        assert_eq!((failure.fault, failure.kind), (Fault::Unknown, ErrorKind::Unavailable));
    }
}

#[tokio::test]
async fn nothing_found_and_nothing_left_over_are_said() {
    let calls = calls(&[r#"{"Responses":{"t":[]}}"#, r#"{"UnprocessedItems":{}}"#, r#"{"Items":[]}"#]);
    assert_eq!(calls.get_batch("t", &[key()]).await.unwrap(), GotBatch::default());
    assert_eq!(calls.write_batch("t", &[Write::Delete(key())]).await.unwrap(), WroteBatch::default());
    assert_eq!(calls.query("t", &query()).await.unwrap(), QueryPage::default());
}
