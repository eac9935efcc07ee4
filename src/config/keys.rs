//! The table of keys: one row makes a key known to file, environment and flags alike.

use recstore_core::{Error, Result};

use super::{Config, Secret, text};

/// One key.
pub(super) struct Key {
    /// Its name with its section: `database.path`.
    pub(super) path: &'static str,
    /// Reads a value's text as the key's type. Ranges are checked elsewhere.
    pub(super) set: fn(&mut Config, &str) -> Result<()>,
}

macro_rules! keys {
    ($($path:literal: |$config:ident, $value:ident| $set:expr;)*) => {
        pub(super) const KEYS: &[Key] = &[$(Key {
            path: $path,
            set: |$config, $value| {
                $set;
                Ok(())
            },
        }),*];
    };
}

keys! {
    "storage_mode": |config, value| config.storage_mode = value.parse()?;
    "namespace": |config, value| config.namespace = value.parse()?;
    "database.path": |config, value| config.database.path = value.into();
    "database.create": |config, value| config.database.create = text::boolean(value)?;
    "database.read_only": |config, value| config.database.read_only = text::boolean(value)?;
    "database.readers": |config, value| config.database.readers = text::whole_or_auto(value)?;
    "database.cache": |config, value| config.database.cache = text::size(value)?;
    "database.busy_timeout": |config, value| config.database.busy_timeout = text::duration(value)?;
    "database.max_group_events": |config, value| config.database.max_group_events = text::whole(value)?;
    "database.max_queued_events": |config, value| config.database.max_queued_events = text::whole(value)?;
    "database.entity_cache": |config, value| config.database.entity_cache = text::whole(value)?;
    "database.wal_size": |config, value| config.database.wal_size = text::size(value)?;
    "database.verify_size": |config, value| config.database.verify_size = text::size(value)?;
    "aws.region": |config, value| config.aws.region = Some(value.to_owned());
    "aws.endpoint_url": |config, value| config.aws.endpoint_url = Some(value.to_owned());
    "aws.allow_http": |config, value| config.aws.allow_http = text::boolean(value)?;
    "aws.s3.bucket": |config, value| config.aws.s3.bucket = value.to_owned();
    "aws.s3.prefix": |config, value| config.aws.s3.prefix = value.to_owned();
    "aws.s3.endpoint_url": |config, value| config.aws.s3.endpoint_url = Some(value.to_owned());
    "aws.s3.connect_timeout": |config, value| config.aws.s3.connect_timeout = text::duration(value)?;
    "aws.s3.request_timeout": |config, value| config.aws.s3.request_timeout = text::duration(value)?;
    "aws.dynamodb.table_prefix": |config, value| config.aws.dynamodb.table_prefix = value.to_owned();
    "aws.dynamodb.endpoint_url": |config, value| config.aws.dynamodb.endpoint_url = Some(value.to_owned());
    "aws.dynamodb.connect_timeout": |config, value| config.aws.dynamodb.connect_timeout = text::duration(value)?;
    "aws.dynamodb.read_timeout": |config, value| config.aws.dynamodb.read_timeout = text::duration(value)?;
    "aws.dynamodb.request_timeout": |config, value| config.aws.dynamodb.request_timeout = text::duration(value)?;
    "aws.dynamodb.pin_max_age": |config, value| config.aws.dynamodb.pin_max_age = text::duration(value)?;
    "aws.ingest.writer": |config, value| config.aws.ingest.writer = Some(value.to_owned());
    "aws.ingest.max_batch_events": |config, value| config.aws.ingest.max_batch_events = text::whole(value)?;
    "aws.ingest.max_batch_bytes": |config, value| config.aws.ingest.max_batch_bytes = text::size(value)?;
    "aws.ingest.linger": |config, value| config.aws.ingest.linger = text::duration(value)?;
    "aws.ingest.max_queued_events": |config, value| config.aws.ingest.max_queued_events = text::whole(value)?;
    "aws.pipeline.buckets": |config, value| config.aws.pipeline.buckets = text::whole(value)?;
    "aws.pipeline.parallel": |config, value| config.aws.pipeline.parallel = text::whole(value)?;
    "aws.pipeline.memory_bytes": |config, value| config.aws.pipeline.memory_bytes = text::size(value)?;
    "aws.pipeline.max_entity_drop": |config, value| config.aws.pipeline.max_entity_drop = text::number(value)?;
    "aws.pipeline.retention.silver.generations": |config, value| {
        config.aws.pipeline.retention.silver.generations = text::whole(value)?
    };
    "aws.pipeline.retention.silver.age": |config, value| {
        config.aws.pipeline.retention.silver.age = text::duration(value)?
    };
    "aws.pipeline.retention.bronze": |config, value| {
        config.aws.pipeline.retention.bronze = text::duration_or_forever(value)?
    };
    "aws.pipeline.retention.gold": |config, value| config.aws.pipeline.retention.gold = text::duration(value)?;
    "aws.pipeline.retention.quarantine": |config, value| {
        config.aws.pipeline.retention.quarantine = text::duration(value)?
    };
    "aws.retry.max_attempts": |config, value| config.aws.retry.max_attempts = text::whole(value)?;
    "aws.retry.max_elapsed": |config, value| config.aws.retry.max_elapsed = text::duration(value)?;
    "aws.retry.first_delay": |config, value| config.aws.retry.first_delay = text::duration(value)?;
    "aws.retry.max_delay": |config, value| config.aws.retry.max_delay = text::duration(value)?;
    "ingest.max_future_skew": |config, value| config.ingest.max_future_skew = text::duration(value)?;
    "features.prior_mean": |config, value| config.features.prior_mean = text::number(value)?;
    "features.prior_weight": |config, value| config.features.prior_weight = text::whole(value)?;
    "similarity.measure": |config, value| config.similarity.measure = value.parse()?;
    "similarity.k": |config, value| config.similarity.k = text::whole(value)?;
    "similarity.min_common": |config, value| config.similarity.min_common = text::whole(value)?;
    "similarity.shrinkage": |config, value| config.similarity.shrinkage = text::number(value)?;
    "erasure_key": |config, value| config.erasure_key = Some(secret(value)?);
}

/// An empty secret is a variable that was not set, not a choice.
fn secret(value: &str) -> Result<Secret> {
    if value.is_empty() {
        return Err(Error::invalid("erasure_key", "is empty; leave the key out for none"));
    }
    Ok(Secret::new(value))
}

/// The key of this path.
pub(super) fn find(path: &str) -> Result<&'static Key> {
    KEYS.iter().find(|key| key.path == path).ok_or_else(|| unknown(path))
}

/// Whether keys stand under this name.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| section_of(key.path) == path) && !path.is_empty()
}

fn section_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, name)| name)
}

/// The error for a path that is no key.
pub(super) fn unknown(path: &str) -> Error {
    let text = if is_section(path) {
        format!("is a section, its keys are: {}", names_in(path).join(", "))
    } else {
        format!("is no key{}", suggestion(path))
    };
    Error::invalid(path, text)
}

/// The names that can stand in a section; the empty one is the top of the file.
fn names_in(section: &str) -> Vec<&'static str> {
    let inside = |key: &Key| {
        let path = key.path;
        match section {
            "" => path.split('.').next(),
            _ => path.strip_prefix(section)?.strip_prefix('.')?.split('.').next(),
        }
    };
    let mut names: Vec<_> = KEYS.iter().filter_map(inside).collect();
    names.dedup();
    names
}

/// The nearest key: one of this name in another place, the nearest path, or else what may stand here.
fn suggestion(path: &str) -> String {
    if let Some(key) = KEYS.iter().find(|key| name_of(key.path) == name_of(path)) {
        return format!(", did you mean {:?}?", key.path);
    }
    if let Some(near) = nearest_key(path) {
        return format!(", did you mean {near:?}?");
    }
    let section = section_of(path);
    let section = if is_section(section) { section } else { "" };
    hint(name_of(path), &names_in(section))
}

/// The key or section whose path is a few typing errors away; dots and underscores do not count.
pub(super) fn nearest_key(path: &str) -> Option<&'static str> {
    let sections = KEYS.iter().map(|key| section_of(key.path)).filter(|section| !section.is_empty());
    let candidates = KEYS.iter().map(|key| key.path).chain(sections);
    let bare = |path: &str| path.replace(['.', '_'], "");
    nearest(&bare(path), candidates.map(|candidate| (candidate, bare(candidate))))
}

/// `, did you mean …?` if one of the names is near, else a list of them.
pub(super) fn hint(name: &str, names: &[&'static str]) -> String {
    match nearest(name, names.iter().map(|&candidate| (candidate, candidate.to_owned()))) {
        Some(near) => format!(", did you mean {near:?}?"),
        None => format!(", there are: {}", names.join(", ")),
    }
}

/// The candidate with the fewest typing errors, if they are at most a third of the word and three.
fn nearest(word: &str, candidates: impl Iterator<Item = (&'static str, String)>) -> Option<&'static str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|(candidate, bare)| (strsim::osa_distance(word, &bare), candidate))
        .filter(|(errors, _)| *errors <= most)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}
