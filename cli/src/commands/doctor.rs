//! `recstore doctor`: configuration, file system, store and surroundings, each with what to do about it.

#[cfg(feature = "aws")]
mod aws;
mod disk;

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use recstore::{Config, EntityKind, ReleaseState, Storage, StorageMode, Timestamp};
use serde::Serialize;

use crate::commands::schema::{blocking, database};
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Page, Table};
use crate::session::{NO_STORE_YET, Session};

/// A current release that is older than this should be built anew.
const STALE_DAYS: u64 = 7;
/// The beginning of 2026: a clock that stands before is wrong.
const CLOCK_FLOOR_MILLIS: i64 = 1_767_225_600_000;
/// A clock that stands after the year 2100 is wrong.
const CLOCK_CEILING_MILLIS: i64 = 4_102_444_800_000;

const EXAMPLES: &str = "\
Examples:
  recstore doctor
  recstore doctor --json
  recstore doctor --role serving";

/// For whom to look.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// In the aws mode, whose permissions are tried: ingest, pipeline, serving, maintenance,
    /// migration or setup
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "ROLE", default_value = "pipeline")]
    role: recstore::aws::setup::roles::Role,
}

/// Runs the command.
///
/// # Errors
/// If anything failed, with the exit code of the first failure. The answer is printed first.
pub async fn run(args: DoctorArgs, session: &Session) -> Done {
    let mut findings = Findings::none();
    examine(&args, session, &mut findings).await;
    let failed = findings.failed;
    session.output.answer(&findings)?;
    match failed {
        Some(exit) => Err(Failure::new(exit, "not everything is well")),
        None => Ok(()),
    }
}

/// Looks at one thing after the other; what needs a thing that failed is left out.
async fn examine(
    #[cfg_attr(not(feature = "aws"), allow(unused_variables, reason = "asks nothing without it"))]
    args: &DoctorArgs,
    session: &Session,
    findings: &mut Findings,
) {
    let now = session.clock.now();
    findings.add("version", Level::Ok, format!("recstore {}", env!("CARGO_PKG_VERSION")), "");
    clock(now, findings);
    let file = session.config_file().display().to_string();
    let Some(config) = findings.need("configuration", session.config()) else { return };
    let detail = format!("{file}: mode {}, namespace {}", config.storage_mode, config.namespace);
    findings.add("configuration", Level::Ok, detail, "");
    let there = match config.storage_mode {
        StorageMode::Sqlite => medium(&config, findings).await,
        #[cfg(feature = "aws")]
        StorageMode::Aws => aws::examine(args.role, &config, session, findings).await,
        _ => true,
    };
    if !there {
        return;
    }
    let Some(storage) = findings.need("store", session.storage().await) else { return };
    store(&storage, findings).await;
    for kind in [EntityKind::Item, EntityKind::User] {
        release(&storage, kind, now, findings).await;
    }
}

fn clock(now: Timestamp, findings: &mut Findings) {
    let plausible = (CLOCK_FLOOR_MILLIS..CLOCK_CEILING_MILLIS).contains(&now.as_millis());
    let level = if plausible { Level::Ok } else { Level::Fail(Exit::Config) };
    findings.add("clock", level, format!("{now}"), "set the machine's clock: events ahead of it are refused");
}

/// The file and the disk below it; `false` if there is nothing to open.
async fn medium(config: &Config, findings: &mut Findings) -> bool {
    let Some(path) = findings.need("file", database(config)) else { return false };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !disk::examine(folder, config.database.read_only, findings) {
        return false;
    }
    if !path.exists() {
        missing_file(config, &path, findings);
        return false;
    }
    let info = blocking(&path, recstore::sqlite::schema_info).await;
    let Some(info) = findings.need("schema", info) else { return false };
    let detail = format!("{}: version {} of {}", path.display(), info.found, info.supported);
    let (level, hint) = match info.found.cmp(&info.supported) {
        Ordering::Less => (Level::Warn, "run `recstore schema migrate`"),
        Ordering::Equal => (Level::Ok, ""),
        Ordering::Greater => (Level::Fail(Exit::BadStore), "a newer program wrote it: upgrade this one"),
    };
    findings.add("schema", level, detail, hint);
    level != Level::Fail(Exit::BadStore)
}

/// A file that is not there is made by an import, unless the configuration forbids it.
fn missing_file(config: &Config, path: &Path, findings: &mut Findings) {
    let detail = format!("{} does not exist yet", path.display());
    if config.database.create && !config.database.read_only {
        findings.add("file", Level::Warn, detail, NO_STORE_YET);
    } else {
        let hint = "name another as database.path, or let it be made: database.create and not read_only";
        findings.add("file", Level::Fail(Exit::NoInput), detail, hint);
    }
}

async fn store(storage: &Arc<dyn Storage>, findings: &mut Findings) {
    let Some(health) = findings.need("store", storage.health().await.map_err(Failure::from)) else { return };
    for check in health.checks {
        let level = if check.ok { Level::Ok } else { Level::Fail(Exit::Unavailable) };
        let hint = match storage.capabilities().mode {
            "aws" => "see `recstore pipeline status`, and the log with -v",
            _ => "see `recstore schema validate`, and the log with -v",
        };
        findings.add(&format!("store: {}", check.name), level, check.detail, hint);
    }
}

async fn release(storage: &Arc<dyn Storage>, kind: EntityKind, now: Timestamp, findings: &mut Findings) {
    let name = format!("neighbours of {kind}s");
    let releases = storage.releases(kind).await.map_err(Failure::from);
    let Some(releases) = findings.need(&name, releases) else { return };
    let build = format!("run `recstore similar build --for {kind}s`");
    let Some(current) = releases.iter().find(|release| release.state == ReleaseState::Current) else {
        // Neighbours among users are an extra that few need.
        let level = if kind == EntityKind::Item { Level::Warn } else { Level::Ok };
        findings.add(&name, level, "no release is promoted".into(), &build);
        return;
    };
    let days = now.since(current.created_at).as_secs() / 86_400;
    let detail = format!("{} is current, {days} days old, {} lists", current.id, current.lists);
    if current.created_at > now {
        findings.add(&name, Level::Warn, detail, "it was built in the future: check the clock");
    } else {
        findings.add(&name, if days < STALE_DAYS { Level::Ok } else { Level::Warn }, detail, &build);
    }
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail(Exit),
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail(_) => "fail",
        }
    }
}

/// What was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    status: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
struct Findings {
    ok: bool,
    checks: Vec<Finding>,
    /// The code of the first failure.
    #[serde(skip)]
    failed: Option<Exit>,
}

impl Findings {
    fn none() -> Findings {
        Findings { ok: true, checks: Vec::new(), failed: None }
    }

    /// Adds a finding; the hint is only for what is not well.
    fn add(&mut self, name: &str, level: Level, detail: String, hint: &str) {
        if let Level::Fail(exit) = level {
            self.ok = false;
            self.failed.get_or_insert(exit);
        }
        let hint = (level != Level::Ok && !hint.is_empty()).then(|| hint.to_owned());
        self.checks.push(Finding { name: name.to_owned(), status: level.as_str(), detail, hint });
    }

    /// The value, or a finding that it could not be had.
    fn need<T>(&mut self, name: &str, value: Done<T>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(failure) => {
                let report = failure.report();
                let (detail, hint) = report.split_once("hint: ").unwrap_or((&report, ""));
                let detail = detail.trim_start_matches("error: ").trim_end().replace('\n', "; ");
                self.add(name, Level::Fail(failure.exit()), detail, hint.trim_end());
                None
            }
        }
    }
}

impl Answer for Findings {
    fn page(&self, page: &mut Page) {
        let mut table = Table::new(["status", "check", "detail"]);
        for finding in &self.checks {
            table.row([finding.status.to_owned(), finding.name.clone(), finding.detail.clone()]);
            if let Some(hint) = &finding.hint {
                table.row([String::new(), String::new(), format!("→ {hint}")]);
            }
        }
        page.table(table);
    }
}
