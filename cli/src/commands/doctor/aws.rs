//! What the aws mode stands on: credentials, region, both services, permissions, the clock, and how fresh the tables are.

use std::time::Duration;

use recstore::aws::setup::roles::Role;
use recstore::{Config, Deadline};

use super::{Findings, Level};
use crate::commands::setup::of_config;
use crate::exit::Exit;
use crate::session::{NO_BUCKET_YET, Session};

/// The most that all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A generation that is older than this, while events wait, is a pipeline that nobody runs.
const STALE_SECONDS: u64 = 2 * 86_400;

/// Looks at everything that a role needs; `false` if the store cannot be opened.
pub(super) async fn examine(role: Role, config: &Config, session: &Session, findings: &mut Findings) -> bool {
    let Some(setup) = findings.need("aws", of_config(config, session).await) else { return false };
    let health = setup.doctor(role, Deadline::after(PATIENCE)).await;
    for check in health.checks {
        let level = if check.ok { Level::Ok } else { Level::Fail(exit_of(&check.name)) };
        findings.add(&format!("aws: {}", check.name), level, check.detail, &hint_of(&check.name, role));
    }
    health.ok && freshness(session, findings).await
}

fn exit_of(check: &str) -> Exit {
    match check {
        "region" => Exit::Config,
        "set-up" => Exit::NoInput,
        _ if check.starts_with("may ") => Exit::ReadOnly,
        _ => Exit::Unavailable,
    }
}

fn hint_of(check: &str, role: Role) -> String {
    match check {
        "credentials" => "set AWS_PROFILE, or the variables or the role of this machine".to_owned(),
        "region" => "name it as aws.region, or in AWS_REGION".to_owned(),
        "s3" | "dynamodb" => "check network, endpoint and credentials".to_owned(),
        "clock" => "set the machine's clock: requests are signed with the time".to_owned(),
        "set-up" => NO_BUCKET_YET.to_owned(),
        _ => format!("{NO_BUCKET_YET}; `recstore setup aws --policy {role}` prints what the role needs"),
    }
}

/// How old the committed generation is.
async fn freshness(session: &Session, findings: &mut Findings) -> bool {
    let Some(storage) = findings.need("store", session.aws().await) else { return false };
    let status = findings.need("pipeline", storage.pipeline_status().await.map_err(Into::into));
    let Some(status) = status else { return false };
    let waiting = status.waiting.events + status.waiting_features.events;
    let detail = match status.as_of {
        Some(as_of) => format!("generation {}, as of {as_of}, waiting events: {waiting}", status.generation),
        None => format!("nothing is committed yet, waiting events: {waiting}"),
    };
    let old = status.age_seconds.is_none_or(|age| age > STALE_SECONDS);
    let level = if waiting > 0 && old { Level::Warn } else { Level::Ok };
    findings.add("pipeline", level, detail, "run `recstore pipeline run`, and let cron or Airflow do so");
    if !status.gaps.is_empty() {
        let detail = format!("holes in the numbers of events: {}", status.gaps.len());
        findings.add("pipeline: gaps", Level::Warn, detail, "see `recstore pipeline status`");
    }
    true
}
