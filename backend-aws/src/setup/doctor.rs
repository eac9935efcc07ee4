//! Whether a role could work: credentials, region, the way to both services, permissions, clock. Only reads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use object_store::{GetOptions, ObjectStore};
use recstore_core::{Deadline, Error, ErrorKind, Health, HealthCheck, Result, Timestamp};
use tokio::time::timeout_at;

use super::Setup;
use super::roles::{Resource, Role};
use super::s3::failure;
use crate::error::diagnose;
use crate::lake::store::instant;
use crate::online::calls::{DynamoCalls, Query};
use crate::online::keys::ItemKey;
use crate::online::tables::{TableCalls, TableName};
use crate::retry::Verdict;

/// How far this machine's clock may be from the service's. Requests are refused from five minutes on
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>).
pub const MAX_SKEW: Duration = Duration::from_secs(60);

/// What nothing in the lake or the tables is called.
const NOTHING: &str = "doctor";

const PERMITTED: &str = "tried and permitted";

impl Setup {
    /// Looks at everything that `role` needs. What fails is a check that is not well, never an error of the call; no
    /// secret is in any of it. Where the store is new, what is missing is found missing: that is the set-up's work.
    ///
    /// Every read that the role may make is tried. Its writes are not: nothing can be written without a trace.
    pub async fn doctor(&self, role: Role, deadline: Deadline) -> Health {
        let heard = Heard::default();
        let s3 = self.reach_s3(&heard, deadline).await;
        let tables = self.reach_dynamodb(deadline).await;
        let (s3_reached, tables_reached) = (s3.is_ok(), tables.is_ok());
        let mut checks = vec![self.credentials(deadline).await, check("region", self.region(&heard))];
        checks.push(check("s3", s3.map(|()| "it answers".to_owned())));
        checks.push(check("dynamodb", tables.map(|()| "it answers".to_owned())));
        if role == Role::Setup {
            checks.push(self.set_up(deadline).await);
        } else {
            for (action, resource) in reads(role) {
                let reached = if action.starts_with("s3:") { s3_reached } else { tables_reached };
                checks.push(self.permission(action, resource, reached, deadline).await);
            }
        }
        checks.push(check("clock", self.clock(&heard)));
        Health::of(checks)
    }

    async fn credentials(&self, deadline: Deadline) -> HealthCheck {
        let found = match self.environment.sdk().credentials_provider() {
            // What the chain says of a failure may quote a file or a program, and is not shown.
            Some(chain) => {
                let late = tokio::time::Instant::from_std(deadline.instant());
                timeout_at(late, chain.provide_credentials()).await.ok().and_then(|answer| answer.ok())
            }
            None => None,
        };
        check("credentials", self.resolved(found.as_ref()))
    }

    fn resolved(&self, found: Option<&Credentials>) -> Result<String> {
        let unavailable = |text: &str| Err(Error::new(ErrorKind::Unavailable, text));
        let Some(found) = found else {
            return unavailable("the standard chain gives none: environment, profile, web identity, role");
        };
        let Some(expiry) = found.expiry() else { return Ok("the standard chain gives them".to_owned()) };
        let expires = Timestamp::MIN.saturating_add(expiry.duration_since(UNIX_EPOCH).unwrap_or_default());
        if expires <= self.environment.clock().now() {
            return unavailable("those of the standard chain have expired, renew them");
        }
        Ok(format!("the standard chain gives them, until {expires}"))
    }

    fn region(&self, heard: &Heard) -> Result<String> {
        let named = self.environment.sdk().region().is_some();
        region_of(&self.bucket.region, named, heard.get().region.as_deref())
    }

    /// Whether S3 answers, whatever it answers, and what it says of itself.
    async fn reach_s3(&self, heard: &Heard, deadline: Deadline) -> Result<()> {
        let bucket = &self.bucket;
        let attempt = || async {
            let head = bucket.client.head_bucket().bucket(&bucket.name).customize();
            match head.interceptor(heard.clone()).send().await.map_err(|error| failure(&error)) {
                Err(failed) if !(failed.was_answered() && failed.verdict == Verdict::Stop) => Err(failed),
                _ => Ok(()),
            }
        };
        bucket.retried(deadline, attempt).await
    }

    /// Whether DynamoDB answers; that it denies the description of a table is an answer.
    async fn reach_dynamodb(&self, deadline: Deadline) -> Result<()> {
        let table = TableName::Control;
        let name = self.names.of(table);
        match self.tables().retried(table, deadline, || self.calls.describe(name)).await {
            Err(error) if error.kind() != ErrorKind::ReadOnly => Err(error),
            _ => Ok(()),
        }
    }

    /// For the role that sets up, every read of it is in a plan.
    async fn set_up(&self, deadline: Deadline) -> HealthCheck {
        let plan = match self.plan(deadline).await {
            Ok(plan) => plan,
            Err(error) => return check("set-up", Err(error)),
        };
        let lines: Vec<String> = plan.to_string().lines().map(str::to_owned).collect();
        HealthCheck { name: "set-up".to_owned(), ok: plan.is_empty(), detail: lines.join("; ") }
    }

    /// Tries a call of this action, unless its service cannot be reached.
    async fn permission(
        &self,
        action: &str,
        resource: Resource,
        reached: bool,
        deadline: Deadline,
    ) -> HealthCheck {
        let tried = match (action, resource.folder()) {
            _ if !reached => {
                Err(Error::new(ErrorKind::Unavailable, "not tried, the service does not answer"))
            }
            ("s3:ListBucket", _) => self.try_list(deadline).await,
            ("s3:GetObject", Some(folder)) => self.try_get(folder, deadline).await,
            ("dynamodb:BatchGetItem", _) => self.try_batch_get(deadline).await,
            ("dynamodb:Query", _) => self.try_query(deadline).await,
            _ => Err(Error::new(ErrorKind::Internal, "not tried, the doctor does not know this action")),
        };
        let place = resource.folder().map_or(String::new(), |folder| format!(" of {folder}"));
        check(&format!("may {action}{place}"), tried.map(str::to_owned))
    }

    async fn try_list(&self, deadline: Deadline) -> Result<&'static str> {
        self.lake.folders(NOTHING, instant(Some(deadline))).await.map(|_| PERMITTED)
    }

    /// Tries it with an object that is not there. Who is denied that could not work even if he may read what is there:
    /// see [`Scope::policy`](super::policy::Scope::policy).
    async fn try_get(&self, folder: &str, deadline: Deadline) -> Result<&'static str> {
        let path = self.prefix.full(format!("{folder}/{NOTHING}"));
        let read = || async {
            let head = GetOptions { head: true, ..GetOptions::default() };
            self.objects.get_opts(&path, head).await.map_err(|error| diagnose(&error))
        };
        match self.bucket.retried(deadline, read).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(PERMITTED),
        }
    }

    async fn try_batch_get(&self, deadline: Deadline) -> Result<&'static str> {
        let keys = [ItemKey::new(NOTHING, NOTHING)?];
        for table in TableName::ALL {
            let name = self.names.of(table);
            self.tables().retried(table, deadline, || self.calls.get_batch(name, &keys)).await?;
        }
        Ok(PERMITTED)
    }

    async fn try_query(&self, deadline: Deadline) -> Result<&'static str> {
        let query = Query {
            partition: NOTHING.to_owned(),
            from: NOTHING.to_owned(),
            to: NOTHING.to_owned(),
            descending: false,
            limit: 1,
            after: None,
        };
        for table in TableName::ALL {
            let name = self.names.of(table);
            self.tables().retried(table, deadline, || self.calls.query(name, &query)).await?;
        }
        Ok(PERMITTED)
    }

    fn clock(&self, heard: &Heard) -> Result<String> {
        let Some(service) = heard.get().date else {
            return Err(Error::new(ErrorKind::Unavailable, "unknown, S3 gave no answer with a date"));
        };
        let ahead = self.environment.clock().now().as_millis() - service.as_millis();
        // The service's date has whole seconds.
        let seconds = ahead / 1000;
        let (by, how) = (seconds.unsigned_abs(), if seconds < 0 { "behind" } else { "ahead of" });
        let text = format!("{by} s {how} the service's");
        if Duration::from_secs(by) > MAX_SKEW {
            return Err(Error::new(ErrorKind::Unavailable, format!("{text}, set this machine's clock")));
        }
        Ok(text)
    }
}

/// `named` is whether anybody named the region, `heard` what the bucket says of itself.
fn region_of(region: &str, named: bool, heard: Option<&str>) -> Result<String> {
    if let Some(other) = heard.filter(|other| *other != region) {
        let text = format!("the bucket lies in {other:?}, and the region is {region:?}");
        return Err(Error::invalid("region", text));
    }
    let how = if named { "" } else { ", as none is named and the endpoint is not AWS's own" };
    Ok(format!("{region}{how}"))
}

/// The reads of a role and what they are about, each once.
fn reads(role: Role) -> Vec<(&'static str, Resource)> {
    let is_read = |(action, _): &(&str, Resource)| {
        ["Get", "List", "Query", "Describe"].iter().any(|read| action.contains(read))
    };
    let mut reads: Vec<_> = role.calls().map(|call| (call.action, call.resource)).filter(is_read).collect();
    reads.sort_unstable();
    reads.dedup();
    reads
}

fn check(name: &str, found: Result<String>) -> HealthCheck {
    let ok = found.is_ok();
    let detail = found.unwrap_or_else(|error| error.to_string());
    HealthCheck { name: name.to_owned(), ok, detail }
}

/// What the heads of answers said, the last ones that said it.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Said>>);

#[derive(Debug, Clone, Default)]
struct Said {
    /// What time it is, by the service's clock.
    date: Option<Timestamp>,
    /// Where the bucket lies.
    region: Option<String>,
}

impl Heard {
    fn get(&self) -> Said {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, date: Option<&str>, region: Option<&str>) {
        let date = date.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        let date = date.and_then(|date| Timestamp::from_millis(date.to_millis().ok()?).ok());
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.date = date.or(said.date);
        if let Some(region) = region.filter(|region| !region.is_empty()) {
            said.region = Some(region.to_owned());
        }
    }
}

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "Heard"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        self.hear(headers.get("date"), headers.get("x-amz-bucket-region"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_answers_the_last_that_says_something_is_remembered() {
        let heard = Heard::default();
        heard.hear(Some("Thu, 01 Jan 1970 00:00:07 GMT"), Some("eu-west-1"));
        heard.hear(Some("no date"), Some(""));
        heard.hear(None, None);
        let said = heard.get();
        assert_eq!(said.date, Some(Timestamp::from_seconds(7).unwrap()));
        assert_eq!(said.region.as_deref(), Some("eu-west-1"));
        heard.hear(Some("Thu, 01 Jan 1970 00:01:00 GMT"), Some("eu-central-1"));
        assert_eq!(heard.get().date, Some(Timestamp::from_seconds(60).unwrap()));
        assert_eq!(heard.get().region.as_deref(), Some("eu-central-1"));
    }

    #[test]
    fn a_bucket_that_lies_elsewhere_is_told() {
        assert_eq!(region_of("eu-central-1", true, None).unwrap(), "eu-central-1");
        assert!(region_of("us-east-1", false, Some("us-east-1")).unwrap().contains("none is named"));
        let error = region_of("eu-central-1", true, Some("us-west-2")).unwrap_err();
        assert_eq!(error.field(), Some("region"));
        assert!(error.message().contains("us-west-2"), "{error}");
    }
}
