//! What a proxy does to which requests. The same types on both ends: tests write rules, the proxy carries them out.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which of the two servers a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Objects.
    S3,
    /// Items.
    DynamoDb,
}

/// An action on the requests that match. Rules are asked in the order in which they were added; the first that
/// matches and is due acts, and those behind it do not see the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The server whose requests it is about.
    pub side: Side,
    /// The HTTP method, in capitals; none stands for any, as in the fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The operation as AWS names it: `PutObject`, `BatchWriteItem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What the path begins with, as it was sent: `/bucket/bronze/`. Paths of DynamoDB are all `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// What the name of the bucket or of one of the tables begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_prefix: Option<String>,
    /// A text that stands in the request's body, such as the key of one item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// Which of the matching requests.
    #[serde(default)]
    pub when: When,
    /// What is done to them.
    pub action: Action,
}

/// Which of the requests that match, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// Each of them.
    #[default]
    Always,
    /// The first so many.
    First(u64),
    /// This one alone.
    Nth(u64),
    /// All but the first so many.
    After(u64),
    /// Each with this probability, decided by the seed and the request's number alone.
    Chance {
        /// 0 for never, 1 for always.
        probability: f64,
        /// The same seed decides the same.
        seed: u64,
    },
}

/// What is done to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The request reaches the server so much later, also where the client has gone meanwhile.
    Delay {
        /// Milliseconds.
        millis: u64,
    },
    /// The proxy answers with an error.
    Answer(Answer),
    /// The connection is reset; the server never sees the request.
    Reset,
    /// The server carries the request out; then the connection is reset instead of an answer.
    LoseAnswer,
    /// The server gets the request twice, one after the other; the client gets the second answer.
    Twice,
    /// Nothing moves on, until the time is over or the rule is removed. Without a time, removing the rule is what
    /// ends it: so a test holds a request at a point, does something else, and lets it go.
    Stall {
        /// Where it stands still.
        stage: Stage,
        /// Milliseconds; none is until the rule is removed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        millis: Option<u64>,
    },
    /// The answer's body ends after so many bytes, or one before its end where it is no longer, and the connection
    /// with it.
    Cut {
        /// How many bytes come.
        bytes: u64,
    },
    /// Of a BatchWriteItem or BatchGetItem only a part reaches the server; the rest comes back as unprocessed. Where
    /// none is kept, the answer is ProvisionedThroughputExceededException, as DynamoDB's is. Other operations do not
    /// match a rule with this action.
    Partial(Keep),
}

/// Where a request stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The server does not have the request yet, and does not get it where the client goes.
    BeforeRequest,
    /// The server has done it; nothing of the answer was sent.
    BeforeHeaders,
    /// The head of the answer and half of its body were sent.
    MidBody,
}

/// Which entries of a batch reach the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Keep {
    /// The first so many, over all tables.
    First(u64),
    /// Each with this probability.
    Share {
        /// 0 for none, 1 for all.
        probability: f64,
        /// The same seed decides the same.
        seed: u64,
    },
    /// All in whose JSON this text does not stand.
    Without(String),
}

/// An answer that the proxy gives itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status; an S3 error can have 200, as CopyObject and CompleteMultipartUpload know it.
    pub status: u16,
    /// The error's code as AWS names it, in XML for S3 and JSON for DynamoDB.
    pub code: String,
    /// The error's text.
    #[serde(default)]
    pub message: String,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Whether the server carries the request out before.
    #[serde(default)]
    pub after_forward: bool,
}

impl Rule {
    /// A rule about every request to S3.
    pub fn s3(action: Action) -> Self {
        Self::about(Side::S3, action)
    }

    /// A rule about every request to DynamoDB.
    pub fn dynamodb(action: Action) -> Self {
        Self::about(Side::DynamoDb, action)
    }

    fn about(side: Side, action: Action) -> Self {
        Self {
            side,
            method: None,
            operation: None,
            path_prefix: None,
            place_prefix: None,
            body_contains: None,
            when: When::Always,
            action,
        }
    }

    /// Only requests of this HTTP method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only this operation, as AWS names it.
    #[must_use]
    pub fn operation(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only paths that begin so.
    #[must_use]
    pub fn path_prefix(mut self, prefix: &str) -> Self {
        self.path_prefix = Some(prefix.to_owned());
        self
    }

    /// Only buckets or tables whose names begin so.
    #[must_use]
    pub fn place_prefix(mut self, prefix: &str) -> Self {
        self.place_prefix = Some(prefix.to_owned());
        self
    }

    /// Only requests in whose body this text stands.
    #[must_use]
    pub fn body_contains(mut self, text: &str) -> Self {
        self.body_contains = Some(text.to_owned());
        self
    }

    /// Only some of those that match.
    #[must_use]
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// The first so many that match.
    #[must_use]
    pub fn first(self, count: u64) -> Self {
        self.when(When::First(count))
    }

    /// The one of this number that matches, counted from 1.
    #[must_use]
    pub fn nth(self, number: u64) -> Self {
        self.when(When::Nth(number))
    }
}

impl Action {
    /// An error with this status and code.
    pub fn answer(status: u16, code: &str) -> Self {
        Self::Answer(Answer {
            status,
            code: code.to_owned(),
            message: format!("{code}, by order of a test"),
            headers: BTreeMap::new(),
            after_forward: false,
        })
    }

    /// The same error after the server carried the request out; other actions are left as they are.
    #[must_use]
    pub fn after_forward(self) -> Self {
        match self {
            Self::Answer(answer) => Self::Answer(Answer { after_forward: true, ..answer }),
            other => other,
        }
    }

    /// S3: too many requests, 503.
    pub fn slow_down() -> Self {
        Self::answer(503, "SlowDown")
    }

    /// S3: 500.
    pub fn internal_error() -> Self {
        Self::answer(500, "InternalError")
    }

    /// S3: an error in an answer whose status is 200.
    pub fn error_with_200() -> Self {
        Self::answer(200, "InternalError")
    }

    /// S3: another conditional write to the same key is under way, 409.
    pub fn conditional_request_conflict() -> Self {
        Self::answer(409, "ConditionalRequestConflict")
    }

    /// S3: the credentials' time is over, 400.
    pub fn expired_token() -> Self {
        Self::answer(400, "ExpiredToken")
    }

    /// DynamoDB: too many requests, 400.
    pub fn throttling() -> Self {
        Self::answer(400, "ThrottlingException")
    }

    /// DynamoDB: too much read or written, 400.
    pub fn throughput_exceeded() -> Self {
        Self::answer(400, "ProvisionedThroughputExceededException")
    }

    /// DynamoDB: 500.
    pub fn internal_server_error() -> Self {
        Self::answer(500, "InternalServerError")
    }

    /// DynamoDB: the credentials' time is over, 400.
    pub fn expired_token_exception() -> Self {
        Self::answer(400, "ExpiredTokenException")
    }

    /// Stand still here until the rule is removed.
    pub fn stall(stage: Stage) -> Self {
        Self::Stall { stage, millis: None }
    }
}

/// A rule with what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleState {
    /// Its number, as given when it was added.
    pub id: u64,
    /// The rule.
    pub rule: Rule,
    /// How many requests matched while it was there to see them.
    pub matched: u64,
    /// On how many of them it acted.
    pub fired: u64,
}
