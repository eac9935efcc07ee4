//! The calls over the AWS SDK, and what its failures mean.
//!
//! | failure | fault | kind |
//! | --- | --- | --- |
//! | throttling (throughput, request rate, throttled, limit of operations on tables, conflict of transactions) | throttled | `Busy` |
//! | access denied, no, unknown or wrong credentials, bad signature | rejected | `ReadOnly` |
//! | expired credentials | rejected | `Unavailable` |
//! | no such table | rejected | `NotFound` |
//! | table being changed | not done | `Unavailable` |
//! | too large a collection or quota | rejected | `Full` |
//! | validation, serialisation | rejected | `Internal` |
//! | an operation that the server does not know | rejected | `Unsupported` |
//! | internal error, any 5xx | unknown | `Unavailable` |
//! | connection refused, credentials that cannot be fetched | not done | `Unavailable` |
//! | timeout, connection reset, answer that cannot be read | unknown | `Unavailable` |
//!
//! A message of the service is handed on only where a defect would have to be found by it: what it says about
//! signatures holds parts of the request, session tokens among them.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, DeleteRequest, KeySchemaElement,
    KeyType, KeysAndAttributes, PointInTimeRecoverySpecification, PointInTimeRecoveryStatus, PutRequest,
    ReturnConsumedCapacity, ScalarAttributeType, TableDescription, TableStatus as SdkStatus, WriteRequest,
};
use recstore_core::ErrorKind;

use super::calls::{
    CallError, Condition, Conditional, DynamoCalls, Fault, GotBatch, Query, QueryPage, Write, WroteBatch,
};
use super::item::{PARTITION, RawItem, SORT, key_attributes, key_of};
use super::keys::ItemKey;
use super::tables::{TableCalls, TableInfo, TableStatus};
use crate::error::{CHAIN_AWAY, NO_CREDENTIALS, chain, has_no_credentials};

/// The calls, sent by an SDK client.
#[derive(Clone)]
pub struct SdkCalls {
    client: Client,
}

impl SdkCalls {
    /// Sends by this client, which has to repeat nothing itself; see [`client`](super::client).
    pub fn new(client: Client) -> SdkCalls {
        SdkCalls { client }
    }
}

impl fmt::Debug for SdkCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.client.config().region().map(AsRef::as_ref);
        f.debug_struct("SdkCalls").field("region", &region).finish_non_exhaustive()
    }
}

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";
const NO_SUCH_TABLE: &str = "ResourceNotFoundException";
const TABLE_IN_USE: &str = "ResourceInUseException";
/// "Backups have not yet been enabled for this table": of a table that was just made.
const NO_BACKUPS_YET: &str = "ContinuousBackupsUnavailableException";

/// What a failure of this code and status means; the table in the head of this module.
pub fn meaning(code: &str, status: u16) -> (Fault, ErrorKind, &'static str) {
    match code {
        "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "ThrottlingException"
        | "ThrottledException"
        | "Throttling"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "TransactionConflictException"
        | "TransactionInProgressException" => {
            (Fault::Throttled, ErrorKind::Busy, "throttled by the service, retry later")
        }
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "NotAuthorized" => {
            let text = "the service denies access, check credentials and the role's policy";
            (Fault::Rejected, ErrorKind::ReadOnly, text)
        }
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => {
            (Fault::Rejected, ErrorKind::Unavailable, "the credentials have expired, renew them")
        }
        NO_SUCH_TABLE | "TableNotFoundException" => {
            (Fault::Rejected, ErrorKind::NotFound, "there is no such table, run the set-up")
        }
        TABLE_IN_USE | "TableInUseException" => {
            (Fault::NotDone, ErrorKind::Unavailable, "the table is being changed")
        }
        "ItemCollectionSizeLimitExceededException" | "ServiceQuotaExceededException" => {
            (Fault::Rejected, ErrorKind::Full, "a quota of the service is used up")
        }
        "UnknownOperationException" | "UnsupportedOperation" | "NotImplemented" => {
            (Fault::Rejected, ErrorKind::Unsupported, "the server does not know this operation")
        }
        _ if status >= 500 || code.is_empty() => {
            (Fault::Unknown, ErrorKind::Unavailable, "the service failed, retry later")
        }
        _ => (Fault::Rejected, ErrorKind::Internal, "the service refused the request"),
    }
}

/// Whether a refusal is one that a person may have to read to find the defect.
fn may_be_shown(code: &str) -> bool {
    matches!(code, "ValidationException" | "SerializationException")
}

fn failure<E>(error: SdkError<E, HttpResponse>) -> CallError
where
    E: ProvideErrorMetadata + RequestId + StdError + 'static,
{
    if let Some(failure) = without_credentials(&error) {
        return failure;
    }
    match &error {
        SdkError::ServiceError(context) => {
            let refused = context.err();
            let code = refused.code().unwrap_or_default();
            let (fault, kind, text) = meaning(code, context.raw().status().as_u16());
            let mut message = text.to_owned();
            if !code.is_empty() {
                message.push_str(&format!(" ({code})"));
            }
            if may_be_shown(code)
                && let Some(said) = refused.message()
            {
                message.push_str(&format!(": {said}"));
            }
            if let Some(request) = refused.request_id() {
                message.push_str(&format!(", request {request}"));
            }
            CallError::new(fault, kind, message)
        }
        SdkError::ConstructionFailure(_) => {
            let text = "the request could not be made, check credentials and endpoint";
            CallError::new(Fault::NotDone, ErrorKind::Unavailable, text)
        }
        SdkError::TimeoutError(_) => CallError::timeout(),
        SdkError::DispatchFailure(_) if was_not_connected(&error) => {
            CallError::new(Fault::NotDone, ErrorKind::Unavailable, "no connection to the service")
        }
        SdkError::ResponseError(_) => unreadable(),
        _ => CallError::new(Fault::Unknown, ErrorKind::Unavailable, "the connection to the service broke"),
    }
}

/// What a failed chain of credentials means, if that is the cause: signing comes before sending.
fn without_credentials(error: &(dyn StdError + 'static)) -> Option<CallError> {
    let failure = chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(match has_no_credentials(failure) {
        true => CallError::new(Fault::Rejected, ErrorKind::ReadOnly, NO_CREDENTIALS),
        false => CallError::new(Fault::NotDone, ErrorKind::Unavailable, CHAIN_AWAY),
    })
}

/// Whether the cause is a connection that was refused: nothing was sent.
pub(crate) fn was_not_connected(error: &(dyn StdError + 'static)) -> bool {
    let of_transport = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    of_transport.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

fn units<'a>(capacity: impl IntoIterator<Item = &'a ConsumedCapacity>) -> f64 {
    capacity.into_iter().filter_map(ConsumedCapacity::capacity_units).sum()
}

fn wrong_request(cause: aws_sdk_dynamodb::error::BuildError) -> CallError {
    CallError::new(Fault::Rejected, ErrorKind::Internal, cause.to_string())
}

fn unreadable() -> CallError {
    CallError::new(Fault::Unknown, ErrorKind::Unavailable, "the answer of the service could not be read")
}

/// What an answer must have. The SDK takes an empty body, as a broken way to the service leaves one, for an answer that
/// says nothing: without this a read would find everything missing and a batch of writes everything written.
fn stated<T>(part: Option<T>) -> Result<T, CallError> {
    part.ok_or_else(unreadable)
}

fn foreign() -> CallError {
    CallError::new(Fault::Unknown, ErrorKind::Corrupt, "the service answered with something that has no key")
}

#[async_trait]
impl DynamoCalls for SdkCalls {
    async fn get_batch(&self, table: &str, keys: &[ItemKey]) -> Result<GotBatch, CallError> {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.iter().map(key_attributes).collect()))
            .consistent_read(true)
            .build()
            .map_err(wrong_request)?;
        let answer = self
            .client
            .batch_get_item()
            .request_items(table, wanted)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(failure)?;
        got_batch(answer, table)
    }

    async fn write_batch(&self, table: &str, writes: &[Write]) -> Result<WroteBatch, CallError> {
        let requests = writes.iter().map(write_request).collect::<Result<Vec<_>, _>>()?;
        let answer = self
            .client
            .batch_write_item()
            .request_items(table, requests)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(failure)?;
        wrote_batch(answer, table)
    }

    async fn put(
        &self,
        table: &str,
        item: &RawItem,
        condition: &Condition,
    ) -> Result<Conditional, CallError> {
        let put = self.client.put_item().table_name(table).set_item(Some(item.clone()));
        let put = match condition {
            Condition::Absent => put
                .condition_expression("attribute_not_exists(#a)")
                .expression_attribute_names("#a", PARTITION),
            Condition::Equals(attribute, value) => put
                .condition_expression("#a = :v")
                .expression_attribute_names("#a", *attribute)
                .expression_attribute_values(":v", value.clone()),
            Condition::Below([(first, of_first), (second, of_second)]) => put
                .condition_expression("attribute_not_exists(#p) OR #a < :a OR (#a = :a AND #b < :b)")
                .expression_attribute_names("#p", PARTITION)
                .expression_attribute_names("#a", *first)
                .expression_attribute_names("#b", *second)
                .expression_attribute_values(":a", of_first.clone())
                .expression_attribute_values(":b", of_second.clone()),
        };
        match put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await {
            Ok(answer) => Ok(Conditional::Done(units(answer.consumed_capacity()))),
            Err(error) if error.code() == Some(CONDITION_FAILED) => Ok(Conditional::Refused),
            Err(error) => Err(failure(error)),
        }
    }

    async fn query(&self, table: &str, query: &Query) -> Result<QueryPage, CallError> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let answer = self
            .client
            .query()
            .table_name(table)
            .consistent_read(true)
            .key_condition_expression("#p = :p AND #s BETWEEN :from AND :to")
            .expression_attribute_names("#p", PARTITION)
            .expression_attribute_names("#s", SORT)
            .expression_attribute_values(":p", text(&query.partition))
            .expression_attribute_values(":from", text(&query.from))
            .expression_attribute_values(":to", text(&query.to))
            .scan_index_forward(!query.descending)
            .limit(i32::try_from(query.limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(query.after.as_ref().map(key_attributes))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(failure)?;
        query_page(answer)
    }
}

fn got_batch(answer: BatchGetItemOutput, table: &str) -> Result<GotBatch, CallError> {
    let read_units = units(answer.consumed_capacity());
    let items = stated(answer.responses)?.remove(table).unwrap_or_default();
    let left = answer.unprocessed_keys.and_then(|mut tables| tables.remove(table));
    let left = left.map_or_else(Vec::new, |left| left.keys);
    let unprocessed = left.iter().map(|key| key_of(key).ok_or_else(foreign)).collect::<Result<_, _>>()?;
    Ok(GotBatch { items, unprocessed, read_units })
}

fn wrote_batch(answer: BatchWriteItemOutput, table: &str) -> Result<WroteBatch, CallError> {
    let write_units = units(answer.consumed_capacity());
    let left = stated(answer.unprocessed_items)?.remove(table).unwrap_or_default();
    let key = |request: WriteRequest| {
        let put = request.put_request.and_then(|put| key_of(&put.item));
        put.or_else(|| request.delete_request.and_then(|delete| key_of(&delete.key))).ok_or_else(foreign)
    };
    let unprocessed = left.into_iter().map(key).collect::<Result<_, _>>()?;
    Ok(WroteBatch { unprocessed, write_units })
}

fn query_page(answer: QueryOutput) -> Result<QueryPage, CallError> {
    let read_units = units(answer.consumed_capacity());
    let next = answer.last_evaluated_key.filter(|key| !key.is_empty());
    let next = next.map(|key| key_of(&key).ok_or_else(foreign)).transpose()?;
    Ok(QueryPage { items: stated(answer.items)?, next, read_units })
}

fn write_request(write: &Write) -> Result<WriteRequest, CallError> {
    let request = WriteRequest::builder();
    Ok(match write {
        Write::Put(item) => {
            let put = PutRequest::builder().set_item(Some(item.clone())).build().map_err(wrong_request)?;
            request.put_request(put).build()
        }
        Write::Delete(key) => {
            let key = key_attributes(key);
            let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(wrong_request)?;
            request.delete_request(delete).build()
        }
    })
}

fn info(table: &TableDescription) -> TableInfo {
    let types: HashMap<&str, &str> = table
        .attribute_definitions()
        .iter()
        .map(|attribute| (attribute.attribute_name(), attribute.attribute_type().as_str()))
        .collect();
    let mut keys: Vec<(String, String, String)> = table
        .key_schema()
        .iter()
        .map(|key| {
            let kind = types.get(key.attribute_name()).copied().unwrap_or_default();
            (key.attribute_name().to_owned(), key.key_type().as_str().to_owned(), kind.to_owned())
        })
        .collect();
    keys.sort_by(|left, right| left.1.cmp(&right.1));
    let status = match table.table_status() {
        Some(SdkStatus::Active) => TableStatus::Active,
        Some(SdkStatus::Deleting) => TableStatus::Deleting,
        _ => TableStatus::Changing,
    };
    let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    TableInfo { status, keys, items: count(table.item_count()), bytes: count(table.table_size_bytes()) }
}

#[async_trait]
impl TableCalls for SdkCalls {
    async fn describe(&self, table: &str) -> Result<Option<TableInfo>, CallError> {
        match self.client.describe_table().table_name(table).send().await {
            Ok(answer) => answer.table().map(info).map(Some).ok_or_else(foreign),
            Err(error) if error.code() == Some(NO_SUCH_TABLE) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn create(&self, table: &str) -> Result<Conditional, CallError> {
        let mut create =
            self.client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        for (name, role) in [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)] {
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
            let attribute = AttributeDefinition::builder().attribute_name(name);
            create = create.key_schema(key.build().map_err(wrong_request)?).attribute_definitions(
                attribute.attribute_type(ScalarAttributeType::S).build().map_err(wrong_request)?,
            );
        }
        match create.send().await {
            Ok(_) => Ok(Conditional::Done(0.0)),
            Err(error) if error.code() == Some(TABLE_IN_USE) => Ok(Conditional::Refused),
            Err(error) => Err(failure(error)),
        }
    }

    async fn remove(&self, table: &str) -> Result<Conditional, CallError> {
        match self.client.delete_table().table_name(table).send().await {
            Ok(_) => Ok(Conditional::Done(0.0)),
            Err(error) if error.code() == Some(NO_SUCH_TABLE) => Ok(Conditional::Refused),
            Err(error) => Err(failure(error)),
        }
    }

    async fn recovery(&self, table: &str) -> Result<Option<bool>, CallError> {
        match self.client.describe_continuous_backups().table_name(table).send().await {
            Ok(answer) => {
                let backups = answer.continuous_backups_description();
                let recovery = backups.and_then(|backups| backups.point_in_time_recovery_description());
                let status = recovery.and_then(|recovery| recovery.point_in_time_recovery_status());
                Ok(Some(status == Some(&PointInTimeRecoveryStatus::Enabled)))
            }
            Err(error) => not_offered(failure(error)).map(|()| None),
        }
    }

    async fn enable_recovery(&self, table: &str) -> Result<Option<bool>, CallError> {
        let on = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
        let update = self.client.update_continuous_backups().table_name(table);
        let on = on.map_err(wrong_request)?;
        match update.point_in_time_recovery_specification(on).send().await {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.code() == Some(NO_BACKUPS_YET) => Ok(Some(false)),
            Err(error) => not_offered(failure(error)).map(|()| None),
        }
    }
}

/// Lets pass that a server does not know an operation.
fn not_offered(failure: CallError) -> Result<(), CallError> {
    if failure.kind == ErrorKind::Unsupported { Ok(()) } else { Err(failure) }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;

    /// Every write puts or deletes a whole item: repeating one that was done changes nothing.
    #[test]
    fn no_request_adds_to_what_is_stored() {
        let (code, _) = include_str!("sdk.rs").split_once("#[cfg(test)]").unwrap();
        for adding in ["update_item", "update_expression", "list_append", "transact_write"] {
            assert!(!code.contains(adding), "{adding}");
        }
        assert!(code.contains("put_item"));
    }

    /// A chain of credentials that gives none.
    #[derive(Debug)]
    struct Empty {
        has_any: bool,
    }

    impl ProvideCredentials for Empty {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(match self.has_any {
                true => CredentialsError::provider_error("the metadata service is away"),
                false => CredentialsError::not_loaded_no_source(),
            }))
        }
    }

    #[tokio::test]
    async fn without_credentials_nothing_was_sent_and_it_says_whether_to_try_again() {
        for (has_any, fault, kind) in
            [(true, Fault::NotDone, ErrorKind::Unavailable), (false, Fault::Rejected, ErrorKind::ReadOnly)]
        {
            let config = aws_sdk_dynamodb::Config::builder()
                .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
                .region(aws_sdk_dynamodb::config::Region::from_static("us-east-1"))
                .endpoint_url("http://127.0.0.1:9")
                .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled())
                .credentials_provider(Empty { has_any })
                .build();
            let calls = SdkCalls::new(Client::from_conf(config));
            let failure = calls.remove("table").await.unwrap_err();
            assert_eq!((failure.fault, failure.kind), (fault, kind), "{failure:?}");
        }
    }

    /// The table in the head of this module, row by row.
    #[test]
    fn every_failure_means_what_the_table_says() {
        use ErrorKind::{Busy, Full, Internal, NotFound, ReadOnly, Unavailable, Unsupported};
        use Fault::{NotDone, Rejected, Throttled, Unknown};
        for (code, status, fault, kind) in [
            ("ProvisionedThroughputExceededException", 400, Throttled, Busy),
            ("RequestLimitExceeded", 400, Throttled, Busy),
            ("ThrottlingException", 400, Throttled, Busy),
            ("LimitExceededException", 400, Throttled, Busy),
            ("TransactionConflictException", 400, Throttled, Busy),
            ("AccessDeniedException", 400, Rejected, ReadOnly),
            ("UnrecognizedClientException", 400, Rejected, ReadOnly),
            ("InvalidSignatureException", 400, Rejected, ReadOnly),
            ("MissingAuthenticationTokenException", 400, Rejected, ReadOnly),
            ("ExpiredTokenException", 400, Rejected, Unavailable),
            ("ResourceNotFoundException", 400, Rejected, NotFound),
            ("ResourceInUseException", 400, NotDone, Unavailable),
            ("ItemCollectionSizeLimitExceededException", 400, Rejected, Full),
            ("ValidationException", 400, Rejected, Internal),
            ("SerializationException", 400, Rejected, Internal),
            ("UnknownOperationException", 400, Rejected, Unsupported),
            ("InternalServerError", 500, Unknown, Unavailable),
            ("ServiceUnavailable", 503, Unknown, Unavailable),
            ("", 502, Unknown, Unavailable),
            ("", 400, Unknown, Unavailable),
            ("ThrottlingException", 503, Throttled, Busy),
        ] {
            let (found, found_kind, _) = meaning(code, status);
            assert_eq!((found, found_kind), (fault, kind), "{code} {status}");
        }
        assert!(may_be_shown("ValidationException") && !may_be_shown("InvalidSignatureException"));
    }
}
