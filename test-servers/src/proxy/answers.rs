//! Errors that the proxy answers itself, in the form of the service that it stands for.

use super::bodies::{Body, full};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use recstore_test_cloud::{Answer, Side};
use std::io;

/// The answer to a request of this side.
pub(super) fn error(side: Side, answer: &Answer) -> io::Result<Response<Body>> {
    let (kind, body) = match side {
        Side::S3 => ("application/xml", xml(answer)),
        Side::DynamoDb => ("application/x-amz-json-1.0", json(answer)),
    };
    let mut response = Response::new(full(body.into()));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let request_id = match side {
        Side::S3 => HeaderName::from_static("x-amz-request-id"),
        Side::DynamoDb => HeaderName::from_static("x-amzn-requestid"),
    };
    headers.insert(request_id, HeaderValue::from_static("BYORDEROFATEST00"));
    for (name, value) in &answer.headers {
        let name: HeaderName = name.parse().map_err(io::Error::other)?;
        headers.insert(name, value.parse().map_err(io::Error::other)?);
    }
    Ok(response)
}

fn xml(answer: &Answer) -> String {
    let (code, message) = (escaped(&answer.code), escaped(&answer.message));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>BYORDEROFATEST00</RequestId></Error>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn json(answer: &Answer) -> String {
    // What all of AWS's services have in common comes from another name space than DynamoDB's own errors.
    let common = ["ExpiredTokenException", "ThrottlingException", "UnrecognizedClientException"];
    let space = if common.contains(&answer.code.as_str()) {
        "com.amazon.coral.service"
    } else {
        "com.amazonaws.dynamodb.v20120810"
    };
    let (kind, message) = (format!("{space}#{}", answer.code), &answer.message);
    serde_json::json!({ "__type": kind, "message": message }).to_string()
}
