//! Lines as one compressed object that shows any damage.
//!
//! The body is one zstd frame. Its metadata say what it is (the name, the format), what is in it (events, bytes and
//! BLAKE3 of the lines), whose put it was (the claim) and what the body must be (its BLAKE3). The body's digest is
//! checked before it is decompressed, so that no damaged frame reaches the decoder; the name is part of the
//! metadata, so that an object under another's key is told.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use object_store::{Attribute, Attributes};
use recstore_core::{Error, ErrorKind, Result};

use crate::lake::keys::BronzeKey;

/// The version of the stored form.
const FORMAT: &str = "1";
/// The most that an object may hold, decompressed. The largest batch of ratings of the longest ids is below it; a batch of
/// custom rows that is over it is refused.
pub const MAX_OBJECT_BYTES: u64 = 256 << 20;
/// The most that compressing may add to what does not compress.
pub(crate) const MAX_COMPRESSED_BYTES: u64 = MAX_OBJECT_BYTES + (MAX_OBJECT_BYTES >> 7);
const LEVEL: i32 = 3;

const META_FORMAT: &str = "recstore-format";
const META_NAME: &str = "recstore-name";
const META_CLAIM: &str = "recstore-claim";
const META_EVENTS: &str = "recstore-events";
const META_BYTES: &str = "recstore-bytes";
const META_LINES: &str = "recstore-lines-blake3";
const META_BODY: &str = "recstore-body-blake3";

/// 256 bits of BLAKE3; prints as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(blake3::Hash);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(blake3::hash(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

/// Random bits that tell one writer from every other, whatever its name; 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId(u128);

impl ClaimId {
    /// The claim of these random bits.
    pub fn from_random(bits: u128) -> ClaimId {
        ClaimId(bits)
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ClaimId {
    type Err = Error;

    fn from_str(text: &str) -> Result<ClaimId> {
        let id: recstore_core::EventId =
            text.parse().map_err(|_| Error::invalid("claim", "is not 32 digits"))?;
        Ok(ClaimId(id.as_u128()))
    }
}

/// An object ready to be stored; every attempt to store it sends the same name and the same bytes.
#[derive(Debug, Clone)]
pub struct SealedObject {
    key: BronzeKey,
    body: Bytes,
    attributes: Attributes,
    identity: Identity,
}

/// What tells whether a stored object is the one that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    claim: String,
    lines: String,
}

impl Identity {
    /// Of what this claim stores: its lines, or whatever else the object holds.
    pub(crate) fn new(claim: ClaimId, content: &[u8]) -> Identity {
        Identity { claim: claim.to_string(), lines: Digest::of(content).to_string() }
    }

    /// The metadata that state it.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (Attribute, String)> {
        [(META_CLAIM, &self.claim), (META_LINES, &self.lines)]
            .into_iter()
            .map(|(name, value)| (Attribute::Metadata(Cow::Borrowed(name)), value.clone()))
    }

    /// The identity that metadata state, if they do.
    pub(crate) fn of(attributes: &Attributes) -> Option<Identity> {
        let claim = metadata(attributes, META_CLAIM)?.to_owned();
        Some(Identity { claim, lines: metadata(attributes, META_LINES)?.to_owned() })
    }
}

impl SealedObject {
    /// Compresses `lines`, whose number must be that of the key's events.
    ///
    /// # Errors
    /// `Internal` if the lines are more than an object may hold, or the compressor fails.
    pub fn seal(key: BronzeKey, claim: ClaimId, lines: &[u8]) -> Result<SealedObject> {
        if lines.len() as u64 > MAX_OBJECT_BYTES {
            let text = format!("{} bytes of lines, an object holds at most {MAX_OBJECT_BYTES}", lines.len());
            return Err(Error::new(ErrorKind::Internal, text).on(key.to_string()));
        }
        let body = zstd::bulk::compress(lines, LEVEL).map_err(|cause| {
            Error::new(ErrorKind::Internal, "the lines cannot be compressed")
                .on(key.to_string())
                .because(cause)
        })?;
        let identity = Identity::new(claim, lines);
        let stated = [
            (META_FORMAT, FORMAT.to_owned()),
            (META_NAME, key.to_string()),
            (META_EVENTS, key.events().to_string()),
            (META_BYTES, lines.len().to_string()),
            (META_BODY, Digest::of(&body).to_string()),
        ];
        let stated =
            stated.into_iter().map(|(name, value)| (Attribute::Metadata(Cow::Borrowed(name)), value));
        let mut attributes: Attributes = identity.metadata().chain(stated).collect();
        attributes.insert(Attribute::ContentType, "application/zstd".into());
        Ok(SealedObject { key, body: body.into(), attributes, identity })
    }

    /// Its key.
    pub fn key(&self) -> &BronzeKey {
        &self.key
    }

    /// Its compressed bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Its metadata.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Checks an object that was read and gives back its lines, each with its end.
///
/// # Errors
/// `Corrupt` that names the key, if a byte of the body or a statement of the metadata is not what was stored;
/// `SchemaVersion` for an object of another format.
pub fn open_object(key: &BronzeKey, attributes: &Attributes, body: &[u8]) -> Result<Vec<u8>> {
    check(key, attributes, body).map_err(|error| error.on(key.to_string()))
}

fn check(key: &BronzeKey, attributes: &Attributes, body: &[u8]) -> Result<Vec<u8>> {
    let format = stated(attributes, META_FORMAT)?;
    if format != FORMAT {
        let text = format!("the object has format {format:?}, this program reads {FORMAT}");
        return Err(Error::new(ErrorKind::SchemaVersion, text));
    }
    if stated(attributes, META_NAME)? != key.to_string() {
        return Err(corrupt("the object lies under another key than it was stored under"));
    }
    if stated(attributes, META_EVENTS)? != key.events().to_string() {
        return Err(corrupt("the object states another number of events than its key"));
    }
    stated(attributes, META_CLAIM)?
        .parse::<ClaimId>()
        .map_err(|_| corrupt("the object's claim is damaged"))?;
    if body.len() as u64 > MAX_COMPRESSED_BYTES
        || stated(attributes, META_BODY)? != Digest::of(body).to_string()
    {
        return Err(corrupt("the object's bytes are not those that were stored"));
    }
    let bytes = stated(attributes, META_BYTES)?;
    let lines = decompress(body, bytes)?;
    if stated(attributes, META_LINES)? != Digest::of(&lines).to_string() {
        return Err(corrupt("the object's lines are not those that were stored"));
    }
    if line_ends(&lines) != key.events() || lines.last() != Some(&b'\n') {
        return Err(corrupt("the object does not hold a line for each of its events"));
    }
    Ok(lines)
}

/// How many lines end. In chunks whose count fits a byte: several times as fast as one by one.
fn line_ends(lines: &[u8]) -> u64 {
    let in_chunk =
        |chunk: &[u8]| chunk.iter().fold(0_u8, |ends, byte| ends.wrapping_add(u8::from(*byte == b'\n')));
    lines.chunks(255).map(|chunk| u64::from(in_chunk(chunk))).sum()
}

/// Decompresses to exactly the length that is stated, which is capped: a small body cannot ask for more memory.
fn decompress(body: &[u8], stated: &str) -> Result<Vec<u8>> {
    let length = stated.parse::<u64>().ok().filter(|length| length.to_string() == stated);
    let length = length
        .filter(|length| *length <= MAX_OBJECT_BYTES)
        .ok_or_else(|| corrupt("the object states a length that none has"))?;
    let capacity =
        usize::try_from(length).map_err(|_| corrupt("the object is too large for this machine"))?;
    let lines = zstd::bulk::decompress(body, capacity)
        .map_err(|cause| corrupt("the object cannot be decompressed").because(cause))?;
    if lines.len() as u64 != length {
        return Err(corrupt("the object is shorter than it states"));
    }
    Ok(lines)
}

fn metadata<'a>(attributes: &'a Attributes, name: &'static str) -> Option<&'a str> {
    attributes.get(&Attribute::Metadata(Cow::Borrowed(name))).map(AsRef::as_ref)
}

fn stated<'a>(attributes: &'a Attributes, name: &'static str) -> Result<&'a str> {
    metadata(attributes, name).ok_or_else(|| corrupt(format!("the object's metadata lack {name}")))
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use recstore_core::{Rating, Timestamp};

    use super::*;
    use crate::lake::bronze::line::encode_line;

    fn object(first: u64, events: u64) -> (SealedObject, Vec<u8>) {
        let mut lines = Vec::new();
        for number in first..first + events {
            let at = Timestamp::from_seconds(number as i64).unwrap();
            encode_line(&Rating::new(number.into(), 2.into(), 3.5, at).unwrap(), &mut lines);
        }
        let key = format!(
            "bronze/v1/ns=shop/ratings/writer=w/epoch=0000000001/dt=2024-01-15/{first:020}-{:020}.jsonl.zst",
            first + events - 1
        );
        (SealedObject::seal(key.parse().unwrap(), ClaimId::from_random(7), &lines).unwrap(), lines)
    }

    #[test]
    fn every_line_end_counts() {
        for length in [0, 1, 254, 255, 256, 1000] {
            assert_eq!(line_ends(&vec![b'\n'; length]), length as u64);
        }
        assert_eq!(line_ends(b"a\nb\r\n\n"), 3);
    }

    #[track_caller]
    fn assert_corrupt(key: &BronzeKey, attributes: &Attributes, body: &[u8]) {
        let error = open_object(key, attributes, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.object(), Some(key.to_string().as_str()));
    }

    #[test]
    fn what_was_sealed_opens() {
        let (object, lines) = object(0, 50);
        assert_eq!(open_object(object.key(), object.attributes(), object.body()).unwrap(), lines);
        assert!(object.body().len() < lines.len() / 3);
        let (again, _) = self::object(0, 50);
        assert_eq!((object.body(), object.attributes()), (again.body(), again.attributes()));
    }

    #[test]
    fn every_flipped_bit_of_every_byte_is_told() {
        let (object, _) = object(0, 50);
        let mut body = object.body().to_vec();
        for at in 0..body.len() {
            for bit in 0..8 {
                body[at] ^= 1 << bit;
                assert_corrupt(object.key(), object.attributes(), &body);
                body[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_told() {
        let (object, _) = object(0, 50);
        for length in 0..object.body().len() {
            assert_corrupt(object.key(), object.attributes(), &object.body()[..length]);
        }
        for more in [&b"\0"[..], object.body()] {
            assert_corrupt(object.key(), object.attributes(), &[object.body(), more].concat());
        }
    }

    #[test]
    fn swapped_objects_bodies_and_metadata_are_told() {
        let (left, _) = object(0, 50);
        let (right, _) = object(50, 50);
        assert_corrupt(left.key(), right.attributes(), right.body());
        assert_corrupt(left.key(), left.attributes(), right.body());
        assert_corrupt(left.key(), right.attributes(), left.body());
    }

    #[test]
    fn every_flipped_bit_of_the_metadata_is_told_but_in_whose_claim_it_was() {
        let (object, lines) = object(0, 50);
        let names = [META_FORMAT, META_NAME, META_CLAIM, META_EVENTS, META_BYTES, META_LINES, META_BODY];
        for name in names {
            let key = Attribute::Metadata(name.into());
            let value = metadata(object.attributes(), name).unwrap().to_owned();
            let mut without = object.attributes().clone();
            without.remove(&key);
            assert_corrupt(object.key(), &without, object.body());
            for at in 0..value.len() {
                for bit in 0..7 {
                    let mut damaged = value.clone().into_bytes();
                    damaged[at] ^= 1 << bit;
                    let mut attributes = object.attributes().clone();
                    attributes.insert(key.clone(), String::from_utf8(damaged).unwrap().into());
                    match open_object(object.key(), &attributes, object.body()) {
                        // The claim says who put it, which no reader asks; another digit is another claim.
                        Ok(opened) => assert_eq!((name, &opened), (META_CLAIM, &lines)),
                        Err(error) if name == META_FORMAT => {
                            assert_eq!(error.kind(), ErrorKind::SchemaVersion)
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name} {at} {bit}"),
                    }
                }
            }
        }
    }

    /// A body with right digests that is not what its metadata say: only who writes objects can make one.
    fn forged(lines: &[u8], states: usize) -> (BronzeKey, Attributes, Vec<u8>) {
        let (object, _) = object(0, 1);
        let body = zstd::bulk::compress(lines, LEVEL).unwrap();
        let mut attributes = object.attributes().clone();
        for (name, value) in [
            (META_BODY, Digest::of(&body).to_string()),
            (META_LINES, Digest::of(lines).to_string()),
            (META_BYTES, states.to_string()),
        ] {
            attributes.insert(Attribute::Metadata(name.into()), value.into());
        }
        (object.key().clone(), attributes, body)
    }

    #[test]
    fn a_bomb_gets_no_more_memory_than_it_states_and_none_beyond_the_cap() {
        let bomb = vec![b'\n'; 64 << 20];
        let (key, attributes, body) = forged(&bomb, 100);
        assert!(body.len() < 16 << 10);
        assert_corrupt(&key, &attributes, &body);
        let (key, attributes, body) = forged(b"\n", MAX_OBJECT_BYTES as usize + 1);
        assert_corrupt(&key, &attributes, &body);
    }

    #[test]
    fn another_number_of_lines_than_events_is_told() {
        for lines in [&b""[..], b"a", b"a\nb\n", b"\n\n", b"a\nb"] {
            let (key, attributes, body) = forged(lines, lines.len());
            assert_corrupt(&key, &attributes, &body);
        }
        let (key, attributes, body) = forged(b"a\n", 2);
        assert_eq!(open_object(&key, &attributes, &body).unwrap(), b"a\n");
    }
}
