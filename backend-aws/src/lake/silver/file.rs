//! What is known of a data file, and the check of its bytes.

use bytes::Bytes;
use recstore_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::lake::documents::{ContentDigest, DocumentRef};
use crate::lake::silver::keys::{FileKey, TableKey};

/// The rows of one bucket, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFile {
    /// The bytes of the file.
    pub bytes: Bytes,
    /// Its rows.
    pub rows: u64,
    /// Those of them that stand: ratings that are not withdrawn, entities with a rating, rows that are not deleted.
    pub live: u64,
}

/// A data file of a table, as the commit document names it. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct DataFile {
    /// Its name within the lake.
    pub name: String,
    /// The bucket whose rows it holds.
    pub bucket: u32,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The digest of its bytes.
    pub digest: ContentDigest,
}

/// The form of a [`DataFile`] before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    name: String,
    bucket: u32,
    bytes: u64,
    rows: u64,
    digest: ContentDigest,
}

impl DataFile {
    /// The file that `generation` writes for a bucket of a table; its name tells its content.
    pub fn new(table: &TableKey, bucket: u32, generation: u64, encoded: &EncodedFile) -> DataFile {
        let digest = ContentDigest::of(&encoded.bytes);
        let key = FileKey { table: table.clone(), bucket, generation, digest: digest.leading() };
        DataFile {
            name: key.to_string(),
            bucket,
            bytes: encoded.bytes.len() as u64,
            rows: encoded.rows,
            digest,
        }
    }

    /// The file that a commit document names.
    ///
    /// # Errors
    /// `Corrupt`, which names the object, if that is no name of a data file, or that of another content.
    pub fn of(object: &DocumentRef, rows: u64) -> Result<DataFile> {
        let DocumentRef { name, bytes, digest } = object.clone();
        let wrong = || Error::new(ErrorKind::Corrupt, "is not the name of this data file").on(name.clone());
        let key: FileKey = name.parse().map_err(|error| wrong().because(error))?;
        if key.digest != digest.leading() {
            return Err(wrong());
        }
        Ok(DataFile { bucket: key.bucket, name, bytes, rows, digest })
    }

    /// The file as an object: its name and what its bytes must be.
    pub fn object(&self) -> DocumentRef {
        DocumentRef { name: self.name.clone(), bytes: self.bytes, digest: self.digest }
    }

    /// Checks that bytes that were read are those that were stored.
    ///
    /// # Errors
    /// `Corrupt`, which names the object.
    pub fn check(&self, body: &Bytes) -> Result<()> {
        self.object().check(body)
    }
}

impl TryFrom<Stored> for DataFile {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<DataFile> {
        let Stored { name, bucket, bytes, rows, digest } = stored;
        let file = DataFile::of(&DocumentRef { name, bytes, digest }, rows)?;
        if file.bucket == bucket {
            return Ok(file);
        }
        Err(Error::new(ErrorKind::Corrupt, "is not the name of a file of this bucket").on(file.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (DataFile, Bytes) {
        let table: TableKey = "silver/v1/shop/ratings".parse().unwrap();
        let bytes = Bytes::from_static(b"the bytes of a file");
        let encoded = EncodedFile { bytes: bytes.clone(), rows: 3, live: 2 };
        (DataFile::new(&table, 5, 42, &encoded), bytes)
    }

    #[test]
    fn the_stored_form_is_json_with_the_digest_as_digits() {
        let (file, bytes) = sample();
        let digest = blake3::hash(&bytes).to_hex();
        let json = format!(
            "{{\"name\":\"silver/v1/shop/ratings/bucket=5/00000000000000000042-{}.parquet\",\"bucket\":5,\
             \"bytes\":19,\"rows\":3,\"digest\":\"{digest}\"}}",
            &digest[..16]
        );
        assert_eq!(serde_json::to_string(&file).unwrap(), json);
        assert_eq!(serde_json::from_str::<DataFile>(&json).unwrap(), file);
        assert_eq!(DataFile::of(&file.object(), 3).unwrap(), file);
        for wrong in [
            json.replace("\"bucket\":5", "\"bucket\":6"),
            json.replace("bucket=5", "bucket=6"),
            json.replace("/ratings/", "/rating/"),
            json.replace(&format!("-{}", &digest[..16]), "-0000000000000000"),
            json.replace("\"rows\":3", "\"rows\":3,\"more\":1"),
        ] {
            assert_ne!(wrong, json);
            assert!(serde_json::from_str::<DataFile>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_addition_is_told() {
        let (file, bytes) = sample();
        file.check(&bytes).unwrap();
        let refused = |body: Vec<u8>| {
            let error = file.check(&Bytes::from(body)).unwrap_err();
            assert_eq!((error.kind(), error.object()), (ErrorKind::Corrupt, Some(file.name.as_str())));
        };
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut body = bytes.to_vec();
                body[at] ^= 1 << bit;
                refused(body);
            }
            refused(bytes[..at].to_vec());
        }
        refused([&bytes[..], b"\0"].concat());
    }
}
