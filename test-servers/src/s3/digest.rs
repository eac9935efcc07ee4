//! Bodies with their ETags and checksums: read whole, and held against what the client says they are.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Result, TrailingHeaders, s3_error};

/// A body that came whole.
pub(super) struct Received {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) checksum: Checksum,
}

/// What a client says about the body that it sends.
pub(super) struct Claims {
    pub(super) content_md5: Option<String>,
    pub(super) algorithm: Option<ChecksumAlgorithm>,
    pub(super) checksum: Checksum,
    pub(super) trailers: Option<TrailingHeaders>,
}

impl Claims {
    /// Reads the body and refuses it where it is not what was claimed.
    pub(super) async fn receive(self, body: Option<StreamingBlob>) -> S3Result<Received> {
        let body = read(body).await?;
        let claimed = self.checksums();
        let checksum = self.computed(&body, &claimed);
        if fields(&checksum).iter().zip(&claimed).any(|(own, claimed)| claimed.is_some() && own != claimed) {
            return Err(s3_error!(BadDigest, "the checksum is not that of the body"));
        }
        let md5 = md5(&body);
        if self.content_md5.is_some_and(|claimed| claimed != base64(&md5)) {
            return Err(s3_error!(BadDigest, "Content-MD5 is not that of the body"));
        }
        Ok(Received { body, etag: hex(&md5), checksum })
    }

    /// The checksums claimed in the headers, or behind the body in its trailers.
    fn checksums(&self) -> [Option<String>; 5] {
        let mut claimed = fields(&self.checksum);
        if let Some(trailers) = self.trailers.as_ref().and_then(TrailingHeaders::take) {
            for (claim, name) in claimed.iter_mut().zip(NAMES) {
                let value = trailers.get(format!("x-amz-checksum-{}", name.to_ascii_lowercase()));
                if let Some(value) = value.and_then(|value| value.to_str().ok()) {
                    *claim = Some(value.to_owned());
                }
            }
        }
        claimed
    }

    /// The checksums of the kinds that were claimed or asked for.
    fn computed(&self, body: &[u8], claimed: &[Option<String>; 5]) -> Checksum {
        let asked = self.algorithm.as_ref().map(ChecksumAlgorithm::as_str);
        let wanted: [bool; 5] =
            std::array::from_fn(|kind| claimed[kind].is_some() || asked == Some(NAMES[kind]));
        let mut hasher = ChecksumHasher {
            crc32: wanted[0].then(Default::default),
            crc32c: wanted[1].then(Default::default),
            sha1: wanted[2].then(Default::default),
            sha256: wanted[3].then(Default::default),
            crc64nvme: wanted[4].then(Default::default),
        };
        hasher.update(body);
        hasher.finalize()
    }
}

/// The kinds of checksums, in the order of [`fields`].
const NAMES: [&str; 5] = ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"];

fn fields(checksum: &Checksum) -> [Option<String>; 5] {
    [
        checksum.checksum_crc32.clone(),
        checksum.checksum_crc32c.clone(),
        checksum.checksum_sha1.clone(),
        checksum.checksum_sha256.clone(),
        checksum.checksum_crc64nvme.clone(),
    ]
}

async fn read(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut stream) = body else { return Ok(Bytes::new()) };
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        whole.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(whole.freeze())
}

/// The ETag of an object whose parts have these ETags.
pub(super) fn etag_of_parts<'a>(parts: impl Iterator<Item = &'a Bytes>) -> String {
    let digests: Vec<_> = parts.map(|part| md5(part)).collect();
    format!("{}-{}", hex(&md5(&digests.concat())), digests.len())
}

pub(super) fn md5(bytes: &[u8]) -> Vec<u8> {
    let mut hasher = Md5::new();
    hasher.update(bytes);
    hasher.finalize().as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let encoded: Vec<_> = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())).into();
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn md5_is_that_of_rfc_1321() {
        assert_eq!(hex(&md5(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
    }
}
