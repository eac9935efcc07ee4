//! Requests about the bucket: whether it is there, its settings, making and removing it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use recstore_core::{Deadline, Error, ErrorKind, Result};

use super::s3::failure;
use super::settings::{self, BucketSetting, Standing};
use crate::error::{Failure, exhausted};
use crate::lake::store::instant;
use crate::retry::{RetryPolicy, with_retries};

/// The one region whose buckets are made without a word about the region.
const FIRST_REGION: &str = "us-east-1";

/// A bucket and the way to it.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) region: String,
    /// What the keys of the lake begin with.
    pub(super) lake: String,
    /// Whether it is reached without TLS over a network, as was allowed.
    pub(super) plain_http: bool,
    pub(super) policy: Arc<RetryPolicy>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn arn(&self) -> String {
        settings::bucket_arn(&self.region, &self.name)
    }

    /// Whether it is there and may be looked at.
    ///
    /// # Errors
    /// `ReadOnly` if it is another account's, or may not be looked at; `Invalid` (`region`) if it is elsewhere.
    pub(super) async fn exists(&self, deadline: Deadline) -> Result<bool> {
        self.retried(deadline, || async {
            match self.client.head_bucket().bucket(&self.name).send().await {
                Ok(_) => Ok(true),
                Err(error) if status(&error) == Some(404) => Ok(false),
                Err(error) => Err(failure(&error)),
            }
        })
        .await
    }

    /// Makes it, if it is not ours already.
    ///
    /// # Errors
    /// `Conflict` if another account has a bucket of that name.
    pub(super) async fn create(&self, deadline: Deadline) -> Result<()> {
        let taken = self.retried(deadline, || async {
            let create = self.client.create_bucket().bucket(&self.name);
            let elsewhere = self.region != FIRST_REGION;
            let place = elsewhere.then(|| {
                let region = BucketLocationConstraint::from(self.region.as_str());
                CreateBucketConfiguration::builder().location_constraint(region).build()
            });
            match create.set_create_bucket_configuration(place).send().await {
                Ok(_) => Ok(false),
                // Also after an answer that was lost.
                Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(false),
                Err(error) if error.code() == Some("BucketAlreadyExists") => Ok(true),
                Err(error) => Err(failure(&error)),
            }
        });
        if taken.await? {
            let text = "another account has a bucket of this name; choose another name";
            return Err(Error::new(ErrorKind::Conflict, text).on(&self.name));
        }
        Ok(())
    }

    /// How a bucket that is yet to be made stands to a setting.
    pub(super) fn standing_when_new(&self, setting: BucketSetting) -> Standing {
        match setting {
            // It would shut us out as well.
            BucketSetting::TlsOnly if self.plain_http => Standing::NotOffered,
            _ => Standing::Unset,
        }
    }

    /// How it stands to a setting.
    pub(super) async fn standing(&self, setting: BucketSetting, deadline: Deadline) -> Result<Standing> {
        if self.standing_when_new(setting) == Standing::NotOffered {
            return Ok(Standing::NotOffered);
        }
        let (client, bucket) = (&self.client, self.name.as_str());
        self.retried(deadline, || async {
            match setting {
                BucketSetting::PublicAccessBlock => {
                    let answer = client.get_public_access_block().bucket(bucket).send().await;
                    looked(answer, "NoSuchPublicAccessBlockConfiguration", |found| {
                        settings::of_public_access(found.public_access_block_configuration())
                    })
                }
                BucketSetting::Encryption => {
                    let answer = client.get_bucket_encryption().bucket(bucket).send().await;
                    looked(answer, "ServerSideEncryptionConfigurationNotFoundError", |found| {
                        settings::of_encryption(found.server_side_encryption_configuration())
                    })
                }
                BucketSetting::TlsOnly => {
                    let answer = client.get_bucket_policy().bucket(bucket).send().await;
                    looked(answer, "NoSuchBucketPolicy", |found| {
                        settings::of_policy(found.policy(), &self.arn())
                    })
                }
                BucketSetting::IncompleteUploads => {
                    let answer = client.get_bucket_lifecycle_configuration().bucket(bucket).send().await;
                    looked(answer, "NoSuchLifecycleConfiguration", |found| {
                        settings::of_lifecycle(found.rules(), &self.lake)
                    })
                }
            }
        })
        .await
    }

    /// Makes a setting, over whatever is there; false if the server has no such setting.
    pub(super) async fn set(&self, setting: BucketSetting, deadline: Deadline) -> Result<bool> {
        let (client, bucket) = (&self.client, self.name.as_str());
        let encryption = settings::wanted_encryption().map_err(wrong_request)?;
        let lifecycle = settings::wanted_lifecycle().map_err(wrong_request)?;
        self.retried(deadline, || async {
            match setting {
                BucketSetting::PublicAccessBlock => {
                    let wanted = settings::wanted_public_access();
                    let put = client.put_public_access_block().bucket(bucket);
                    done(put.public_access_block_configuration(wanted).send().await)
                }
                BucketSetting::Encryption => {
                    let put = client.put_bucket_encryption().bucket(bucket);
                    done(put.server_side_encryption_configuration(encryption.clone()).send().await)
                }
                BucketSetting::TlsOnly => {
                    let wanted = settings::wanted_policy(&self.arn());
                    done(client.put_bucket_policy().bucket(bucket).policy(wanted).send().await)
                }
                BucketSetting::IncompleteUploads => {
                    let put = client.put_bucket_lifecycle_configuration().bucket(bucket);
                    done(put.lifecycle_configuration(lifecycle.clone()).send().await)
                }
            }
        })
        .await
    }

    /// Whether there is any object in it.
    pub(super) async fn holds_objects(&self, deadline: Deadline) -> Result<bool> {
        self.retried(deadline, || async {
            let page = self.client.list_objects_v2().bucket(&self.name).max_keys(1).send().await;
            page.map(|page| !page.contents().is_empty()).map_err(|error| failure(&error))
        })
        .await
    }

    /// Removes it; false if it was gone.
    ///
    /// # Errors
    /// `Conflict` if there is anything in it, versions of objects included: S3 itself refuses then.
    pub(super) async fn remove(&self, deadline: Deadline) -> Result<bool> {
        let removed = self.retried(deadline, || async {
            match self.client.delete_bucket().bucket(&self.name).send().await {
                Ok(_) => Ok(Some(true)),
                Err(error) if error.code() == Some("NoSuchBucket") => Ok(Some(false)),
                Err(error) if error.code() == Some("BucketNotEmpty") => Ok(None),
                Err(error) => Err(failure(&error)),
            }
        });
        removed.await?.ok_or_else(|| self.not_empty())
    }

    pub(super) fn not_empty(&self) -> Error {
        let text = "the bucket has objects, which are never removed here; empty it first";
        Error::new(ErrorKind::Conflict, text).on(&self.name)
    }

    /// Every request here may be repeated: what was done already is found done.
    pub(super) async fn retried<T, F>(&self, deadline: Deadline, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let verdict = |failure: &Failure| failure.verdict;
        let answer = with_retries(&self.policy, instant(Some(deadline)), verdict, attempt).await;
        answer.map_err(|failed| exhausted(failed, &self.name))
    }
}

fn wrong_request(cause: BuildError) -> Error {
    Error::new(ErrorKind::Internal, "a request that cannot be made").because(cause)
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

fn looked<T, E>(
    answer: Result<T, SdkError<E, HttpResponse>>,
    unset: &str,
    judge: impl FnOnce(&T) -> Standing,
) -> Result<Standing, Failure>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match answer {
        Ok(found) => Ok(judge(&found)),
        Err(error) if error.code() == Some(unset) => Ok(Standing::Unset),
        Err(error) => match failure(&error) {
            failure if failure.kind == ErrorKind::Unsupported => Ok(Standing::NotOffered),
            failure => Err(failure),
        },
    }
}

fn done<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Result<bool, Failure>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match answer.map_err(|error| failure(&error)) {
        Ok(_) => Ok(true),
        Err(failure) if failure.kind == ErrorKind::Unsupported => Ok(false),
        Err(failure) => Err(failure),
    }
}
