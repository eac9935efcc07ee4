//! ListObjectsV2: keys in the order of their bytes, rolled up at the delimiter, a page at a time.

use super::state::{Bucket, State, length};
use s3s::dto::{CommonPrefix, ListObjectsV2Input, ListObjectsV2Output, Object};
use s3s::{S3Result, s3_error};
use std::fmt::Write;
use std::ops::Bound;

/// The most that S3 gives in one page, whatever is asked for.
const PAGE: i32 = 1000;

pub(super) fn list(state: &State, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let bucket = state.bucket(&input.bucket)?;
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let limit = input.max_keys.unwrap_or(PAGE).min(PAGE);
    let room = usize::try_from(limit).map_err(|_| s3_error!(InvalidArgument, "max-keys is negative"))?;
    let after = match &input.continuation_token {
        Some(token) => Entry::of_token(token)?,
        None => Entry::Key(input.start_after.clone().unwrap_or_default()),
    };
    let query = Query { prefix: input.prefix.as_deref().unwrap_or(""), delimiter: delimiter.as_deref() };
    let page = query.page(bucket, after, room);
    let url = input.encoding_type.as_ref().is_some_and(|encoding| encoding.as_str() == "url");
    let text = |text: String| if url { percent_encoded(&text) } else { text };
    let prefix = |prefix: &Entry| CommonPrefix { prefix: Some(text(prefix.text().to_owned())) };
    let object = |key: &Entry| {
        let object = bucket.objects.get(key.text())?;
        Some(Object {
            key: Some(text(key.text().to_owned())),
            size: Some(length(&object.body)),
            e_tag: Some(object.etag()),
            last_modified: Some(object.modified.into()),
            ..Object::default()
        })
    };
    Ok(ListObjectsV2Output {
        common_prefixes: Some(page.entries.iter().filter(|entry| entry.is_prefix()).map(prefix).collect()),
        contents: Some(page.entries.iter().filter(|entry| !entry.is_prefix()).filter_map(object).collect()),
        continuation_token: input.continuation_token,
        delimiter: delimiter.map(text),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.more),
        key_count: i32::try_from(page.entries.len()).ok(),
        max_keys: Some(limit),
        name: Some(input.bucket),
        next_continuation_token: page.entries.last().filter(|_| page.more).map(Entry::token),
        prefix: input.prefix.map(text),
        start_after: input.start_after.map(text),
        ..ListObjectsV2Output::default()
    })
}

/// What a listing is made of.
enum Entry {
    Key(String),
    /// All the keys that begin so.
    Prefix(String),
}

impl Entry {
    fn text(&self) -> &str {
        let (Self::Key(text) | Self::Prefix(text)) = self;
        text
    }

    fn is_prefix(&self) -> bool {
        matches!(self, Self::Prefix(_))
    }

    /// A token that goes on behind this entry. Not readable, as a client must not rely on what is in it.
    fn token(&self) -> String {
        let mut token = if self.is_prefix() { "p" } else { "k" }.to_owned();
        for byte in self.text().bytes() {
            // Writing to a string cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    fn of_token(token: &str) -> S3Result<Self> {
        let malformed = || s3_error!(InvalidArgument, "the continuation token is not one of this store");
        let digits = token.get(1..).filter(|digits| digits.len() % 2 == 0).ok_or_else(malformed)?;
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
        match token.as_bytes().first() {
            Some(b'p') => Ok(Self::Prefix(text)),
            Some(b'k') => Ok(Self::Key(text)),
            _ => Err(malformed()),
        }
    }
}

struct Page {
    entries: Vec<Entry>,
    more: bool,
}

struct Query<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
}

impl Query<'_> {
    fn page(&self, bucket: &Bucket, mut after: Entry, room: usize) -> Page {
        let mut entries = Vec::new();
        while entries.len() < room {
            let Some(entry) = self.next(bucket, &after) else { return Page { entries, more: false } };
            after = match &entry {
                Entry::Key(key) => Entry::Key(key.clone()),
                Entry::Prefix(prefix) => Entry::Prefix(prefix.clone()),
            };
            entries.push(entry);
        }
        let more = room > 0 && self.next(bucket, &after).is_some();
        Page { entries, more }
    }

    /// The first entry behind `after`.
    fn next(&self, bucket: &Bucket, after: &Entry) -> Option<Entry> {
        let behind = match after {
            Entry::Key(key) if key.as_str() >= self.prefix => Bound::Excluded(key.clone()),
            Entry::Prefix(prefix) => Bound::Included(successor(prefix)?),
            Entry::Key(_) => Bound::Included(self.prefix.to_owned()),
        };
        let (key, _) = bucket.objects.range((behind, Bound::Unbounded)).next()?;
        let rest = key.strip_prefix(self.prefix)?;
        let end = self.delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
        Some(match end {
            Some(end) => Entry::Prefix(key[..self.prefix.len() + end].to_owned()),
            None => Entry::Key(key.clone()),
        })
    }
}

/// The least text that is greater than every text that begins with this one.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
