//! Immutable JSON documents: named by what they were made for and by their content, checked when they are read.
//!
//! The number in a name is that of the one change that may name the document: the generation, or the revision of the
//! head. So a document of a number that was reached, which that change did not name, is named by nothing ever after.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use recstore_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::lake::bronze::object::corrupt;
use crate::lake::keys::{SEQUENCE_DIGITS, digits};
use crate::lake::store::LakeStore;

/// The most bytes of one document, decompressed.
const MAX_DOCUMENT_BYTES: u64 = 256 << 20;
const LEVEL: i32 = 3;
const SUFFIX: &str = ".json.zst";

/// 256 bits of BLAKE3 of an object's bytes; prints as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> ContentDigest {
        ContentDigest(*blake3::hash(bytes).as_bytes())
    }

    /// Its first 64 bits, which names carry.
    pub fn leading(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The first 16 of its digits, which names carry.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl FromStr for ContentDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<ContentDigest> {
        let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let hash = blake3::Hash::from_hex(text).ok().filter(|_| lower);
        let hash = hash.ok_or_else(|| Error::invalid("digest", "is not 64 hexadecimal digits"))?;
        Ok(ContentDigest(*hash.as_bytes()))
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = Error;

    fn try_from(text: String) -> Result<ContentDigest> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> String {
        digest.to_string()
    }
}

/// An immutable object, and what its bytes must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRef {
    /// Its name within the lake.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The digest of its bytes.
    pub digest: ContentDigest,
}

impl DocumentRef {
    /// Checks bytes that were read.
    ///
    /// # Errors
    /// `Corrupt`, which names the object.
    pub fn check(&self, body: &[u8]) -> Result<()> {
        if body.len() as u64 == self.bytes && ContentDigest::of(body) == self.digest {
            return Ok(());
        }
        Err(corrupt("the object is not what was stored").on(self.name.clone()))
    }
}

/// Reads an object that a document or the head names.
///
/// # Errors
/// `Corrupt`, which names the object, if it is gone or is not what was stored; those of the object store.
pub(crate) async fn read_object(
    store: &LakeStore,
    object: &DocumentRef,
    deadline: Option<Instant>,
) -> Result<Bytes> {
    let (_, body) =
        store.read(&object.name, object.bytes, deadline).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                corrupt("an object that is named is gone").on(object.name.clone()).because(error)
            }
            _ => error,
        })?;
    object.check(&body)?;
    Ok(body)
}

/// The document of `content` in `folder`, not stored yet.
fn prepare<T: Serialize>(folder: &str, number: u64, content: &T) -> Result<(DocumentRef, Bytes)> {
    let failed =
        |cause: String| Error::new(ErrorKind::Internal, format!("a document cannot be written: {cause}"));
    let json = serde_json::to_vec(content).map_err(|cause| failed(cause.to_string()).on(folder))?;
    if json.len() as u64 > MAX_DOCUMENT_BYTES {
        let text = format!("{} bytes, at most {MAX_DOCUMENT_BYTES}", json.len());
        return Err(Error::new(ErrorKind::Full, format!("a document is too large: {text}")).on(folder));
    }
    let body = zstd::bulk::compress(&json, LEVEL).map_err(|cause| failed(cause.to_string()).on(folder))?;
    let digest = ContentDigest::of(&body);
    let name = format!("{folder}/{number:0SEQUENCE_DIGITS$}-{digest}{SUFFIX}");
    Ok((DocumentRef { name, bytes: body.len() as u64, digest }, Bytes::from(body)))
}

/// The number in the name of a document; `None` if it is no such name.
pub(crate) fn document_number(name: &str) -> Option<u64> {
    let (_, file) = name.rsplit_once('/')?;
    let (number, digest) = file.strip_suffix(SUFFIX)?.split_once('-')?;
    digest.parse::<ContentDigest>().ok()?;
    digits(number, SEQUENCE_DIGITS)
}

/// Stores a document; `number` is that of the change that is to name it.
///
/// # Errors
/// Those of the object store; `OutcomeUnknown`, after which the same call finds out.
pub(crate) async fn store_document<T: Serialize>(
    store: &LakeStore,
    folder: &str,
    number: u64,
    content: &T,
) -> Result<DocumentRef> {
    let (document, body) = prepare(folder, number, content)?;
    store.store_content(&document.name, &body, "application/zstd").await?;
    Ok(document)
}

/// Reads a document.
///
/// # Errors
/// As [`read_object`]; `SchemaVersion` if a newer program wrote it.
pub(crate) async fn read_document<T: DeserializeOwned>(
    store: &LakeStore,
    document: &DocumentRef,
    deadline: Option<Instant>,
) -> Result<T> {
    let body = read_object(store, document, deadline).await?;
    // Room for what the frame says, so that a small document takes little.
    let stated = zstd::zstd_safe::get_frame_content_size(&body).ok().flatten().unwrap_or(MAX_DOCUMENT_BYTES);
    let room = stated.min(MAX_DOCUMENT_BYTES) as usize;
    let json = zstd::bulk::decompress(&body, room).map_err(|cause| {
        corrupt("the document cannot be decompressed").on(document.name.clone()).because(cause)
    })?;
    parse(&json, &document.name)
}

/// Reads JSON whose digest was right: what does not fit was written by another version.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|cause| {
        Error::new(ErrorKind::SchemaVersion, "the document is of a form that this program does not know")
            .on(name)
            .because(cause)
    })
}

/// A document that is changed or claimed under a fixed name: its JSON, and the digest of name and JSON. The name is in
/// it so that the document of one namespace, copied to another, is not taken for the other's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    digest: ContentDigest,
    content: Box<serde_json::value::RawValue>,
}

/// Names have no line ends, so name and content cannot be taken for each other.
fn digest_under(name: &str, json: &str) -> ContentDigest {
    ContentDigest::of(format!("{name}\n{json}").as_bytes())
}

/// The bytes of a document with a name of its own.
pub(crate) fn seal_json<T: Serialize>(content: &T, name: &str) -> Result<Bytes> {
    let failed =
        |cause| Error::new(ErrorKind::Internal, "a document cannot be written").on(name).because(cause);
    let content = serde_json::value::to_raw_value(content).map_err(failed)?;
    let envelope = Envelope { digest: digest_under(name, content.get()), content };
    let mut bytes = serde_json::to_vec(&envelope).map_err(failed)?;
    bytes.push(b'\n');
    Ok(Bytes::from(bytes))
}

/// Reads what [`seal_json`] wrote; the content says its `format`.
///
/// # Errors
/// `Corrupt` if it is damaged; `SchemaVersion` if it is of another form.
pub(crate) fn open_json<T: DeserializeOwned>(bytes: &[u8], format: u32, name: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let damaged = || corrupt("the document is damaged, or of another name").on(name);
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|cause| damaged().because(cause))?;
    if digest_under(name, envelope.content.get()) != envelope.digest {
        return Err(damaged());
    }
    let json = envelope.content.get().as_bytes();
    let found: Form = parse(json, name)?;
    if found.format != format {
        let text =
            format!("a document of form {}, this program reads form {format}; upgrade it", found.format);
        return Err(Error::new(ErrorKind::SchemaVersion, text).on(name));
    }
    parse(json, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Document {
        format: u32,
        text: String,
    }

    fn document(format: u32) -> Document {
        Document { format, text: "one".to_owned() }
    }

    #[test]
    fn a_document_is_read_under_its_own_name_and_told_under_any_other() {
        let name = "state/v1/ns=a/head.json";
        let bytes = seal_json(&document(1), name).unwrap();
        assert_eq!(open_json::<Document>(&bytes, 1, name).unwrap(), document(1));
        let error = open_json::<Document>(&bytes, 1, "state/v1/ns=b/head.json").unwrap_err();
        assert_eq!((error.kind(), error.object()), (ErrorKind::Corrupt, Some("state/v1/ns=b/head.json")));
    }

    #[test]
    fn every_changed_byte_of_a_document_is_told() {
        let bytes = seal_json(&document(1), "name").unwrap();
        // The line's end is no part of it.
        for at in 0..bytes.len() - 1 {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                let read = open_json::<Document>(&changed, 1, "name");
                assert!(read.is_err_and(|error| error.kind() == ErrorKind::Corrupt), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_document_of_another_form_says_so() {
        let bytes = seal_json(&document(2), "name").unwrap();
        let error = open_json::<Document>(&bytes, 1, "name").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaVersion);
        assert!(error.message().contains("form 2"), "{error}");
    }
}
