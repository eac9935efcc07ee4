//! Objects: what S3 promises about reads, conditional writes, listings and uploads in parts.

use crate::clients::{Objects, Setting, code, s3_client};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective,
    ObjectIdentifier,
};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

#[tokio::test]
async fn an_object_comes_back_with_what_was_said_of_it() {
    let setting = Setting::new().await;
    let written = setting.s3.write("a/b c+ü").body(ByteStream::from_static(b"body"));
    let written = written.content_type("text/plain").content_encoding("zstd").metadata("writer", "w1");
    let etag = written.send().await.unwrap().e_tag.unwrap();
    assert_eq!(etag, "\"841a2d689ad86bd1611447453c22c6fc\"");

    let got = setting.s3.get("a/b c+ü").send().await.unwrap();
    assert_eq!((got.content_type(), got.content_encoding()), (Some("text/plain"), Some("zstd")));
    assert_eq!((got.e_tag(), got.content_length()), (Some(etag.as_str()), Some(4)));
    assert_eq!(got.metadata().unwrap()["writer"], "w1");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"body");
    let head = setting.s3.head("a/b c+ü").send().await.unwrap();
    assert_eq!((head.e_tag(), head.content_length()), (Some(etag.as_str()), Some(4)));
    assert_eq!(head.metadata().unwrap()["writer"], "w1");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_missing() {
    let setting = Setting::new().await;
    assert_eq!(code(setting.s3.get("none").send().await), "NoSuchKey");
    let head = setting.s3.head("none").send().await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    assert_eq!(
        code(setting.s3.client.get_object().bucket("elsewhere").key("a").send().await),
        "NoSuchBucket"
    );
    setting.s3.delete("none").send().await.unwrap();
    setting.s3.put("a", b"1").await;
    assert_eq!(
        code(setting.s3.client.delete_bucket().bucket(&setting.s3.bucket).send().await),
        "BucketNotEmpty"
    );
    assert_eq!(
        code(setting.s3.client.create_bucket().bucket(&setting.s3.bucket).send().await),
        "BucketAlreadyOwnedByYou"
    );
    setting.s3.delete("a").send().await.unwrap();
    setting.s3.client.delete_bucket().bucket(&setting.s3.bucket).send().await.unwrap();
    assert!(setting.s3.client.head_bucket().bucket(&setting.s3.bucket).send().await.is_err());
}

#[tokio::test]
async fn a_range_is_exactly_those_bytes() {
    let setting = Setting::new().await;
    setting.s3.put("a", b"0123456789").await;
    for (range, expected, shown) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-5", "345", "bytes 3-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=7-99", "789", "bytes 7-9/10"),
        ("bytes=-4", "6789", "bytes 6-9/10"),
    ] {
        let got = setting.s3.get("a").range(range).send().await.unwrap();
        assert_eq!(got.content_range(), Some(shown));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), expected.as_bytes(), "{range}");
    }
    let beyond = setting.s3.get("a").range("bytes=10-").send().await;
    assert_eq!(code(beyond), "InvalidRange");
}

#[tokio::test]
async fn a_write_happens_only_under_its_condition() {
    let setting = Setting::new().await;
    let create = |key: &str| setting.s3.write(key).if_none_match("*");
    let first = create("a").body(ByteStream::from_static(b"1")).send().await.unwrap().e_tag.unwrap();
    assert_eq!(code(create("a").body(ByteStream::from_static(b"2")).send().await), "PreconditionFailed");
    let replace = |key: &str, etag: &str| setting.s3.write(key).if_match(etag);
    assert_eq!(code(replace("b", &first).send().await), "NoSuchKey");
    let second = replace("a", &first).body(ByteStream::from_static(b"2")).send().await.unwrap();
    assert_eq!(code(replace("a", &first).send().await), "PreconditionFailed");
    assert_eq!(setting.s3.read("a").await, b"2");
    let delete = setting.s3.delete("a").if_match(&first).send().await;
    assert_eq!(code(delete), "PreconditionFailed");
    let etag = second.e_tag.unwrap();
    let read = setting.s3.get("a").if_none_match(&etag).send().await;
    assert_eq!(read.unwrap_err().raw_response().unwrap().status().as_u16(), 304);
    let read = setting.s3.get("a").if_match(&first).send().await;
    assert_eq!(code(read), "PreconditionFailed");
}

/// Runs 16 conditional writes of the same key at once; how many were done. No two of all rounds have the same body:
/// an ETag tells contents apart and not writes, so that one of equal content leaves the condition true.
async fn race(client: &Objects, round: u64, if_match: Option<&str>) -> usize {
    let mut racing = JoinSet::new();
    for number in 0..16 {
        let body = ByteStream::from(format!("{round} {number} ").repeat(20_000).into_bytes());
        let put = client.write("contended").body(body);
        let put = match if_match {
            Some(etag) => put.if_match(etag),
            None => put.if_none_match("*"),
        };
        racing.spawn(put.send());
    }
    let mut done = 0;
    while let Some(result) = racing.join_next().await {
        match result.unwrap() {
            Ok(_) => done += 1,
            refused => assert_eq!(code(refused), "PreconditionFailed"),
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_conditional_writes_exactly_one_is_done() {
    let setting = Setting::new().await;
    assert_eq!(race(&setting.s3, 0, None).await, 1);
    for round in 1..=20 {
        let head = setting.s3.head("contended").send().await.unwrap();
        assert_eq!(race(&setting.s3, round, head.e_tag()).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_never_sees_parts_of_two_versions() {
    let setting = Setting::new().await;
    let body = |number: u8| vec![number; 300_000 + usize::from(number)];
    setting.s3.put("a", &body(0)).await;
    let mut working = JoinSet::new();
    for writer in 0..2 {
        let client = setting.s3.clone();
        working.spawn(async move {
            for number in 0..40 {
                client.put("a", &body(writer * 40 + number)).await;
            }
        });
    }
    for _ in 0..2 {
        let client = setting.s3.clone();
        working.spawn(async move {
            for _ in 0..60 {
                let seen = client.read("a").await;
                assert_eq!(seen, body(seen[0]));
            }
        });
    }
    while let Some(result) = working.join_next().await {
        result.unwrap();
    }
}

/// Everything that pages of this size list, in their order.
async fn listed(client: &Objects, prefix: &str, delimiter: Option<&str>, size: i32) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let page = client.list().prefix(prefix).max_keys(size);
        let page = page.set_delimiter(delimiter.map(str::to_owned)).set_continuation_token(token);
        let page = page.send().await.unwrap();
        let mut entries: Vec<_> =
            page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect();
        entries.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
        assert_eq!(page.key_count(), Some(i32::try_from(entries.len()).unwrap()));
        assert!(entries.len() <= usize::try_from(size).unwrap());
        entries.sort();
        all.extend(entries);
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn pages_of_every_size_list_every_key_once_and_in_order() {
    let setting = Setting::new().await;
    let keys = [
        "a",
        "a/1",
        "a/2",
        "a/b/3",
        "a0",
        "b/1",
        "b/2",
        "b/\u{10ffff}",
        "b0",
        "c d",
        "e+f",
        "g%20h",
        "ü/1",
        "ü/2",
        "z",
    ];
    for key in keys {
        setting.s3.put(key, b"").await;
    }
    let plain = |prefix: &str| -> Vec<String> {
        let sorted: BTreeSet<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
        sorted.into_iter().map(|key| (*key).to_owned()).collect()
    };
    let rolled = |prefix: &str| -> Vec<String> {
        let roll = |key: String| match key[prefix.len()..].find('/') {
            Some(end) => key[..=prefix.len() + end].to_owned(),
            None => key,
        };
        plain(prefix).into_iter().map(roll).collect::<BTreeSet<_>>().into_iter().collect()
    };
    for size in [1, 2, 3, 7, 1000] {
        for prefix in ["", "a", "a/", "b/", "ü", "none"] {
            assert_eq!(listed(&setting.s3, prefix, None, size).await, plain(prefix), "{prefix} by {size}");
            assert_eq!(
                listed(&setting.s3, prefix, Some("/"), size).await,
                rolled(prefix),
                "{prefix} by {size}"
            );
        }
    }
    let behind = setting.s3.list().start_after("a/2").max_keys(2).send().await.unwrap();
    let behind: Vec<_> = behind.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(behind, ["a/b/3", "a0"]);
    let none = setting.s3.list().max_keys(0).send().await.unwrap();
    assert_eq!((none.key_count(), none.is_truncated()), (Some(0), Some(false)));
    let foreign = setting.s3.list().continuation_token("a/2").send().await;
    assert_eq!(code(foreign), "InvalidArgument");
}

#[tokio::test]
async fn a_page_has_at_most_a_thousand_keys() {
    let setting = Setting::new().await;
    for number in 0..1003 {
        setting.s3.put(&format!("{number:04}"), b"").await;
    }
    let page = setting.s3.list().max_keys(5000).send().await.unwrap();
    assert_eq!((page.contents().len(), page.max_keys(), page.is_truncated()), (1000, Some(1000), Some(true)));
    assert_eq!(listed(&setting.s3, "", None, 1000).await.len(), 1003);
}

#[tokio::test]
async fn many_keys_are_deleted_by_one_request() {
    let setting = Setting::new().await;
    for key in ["a", "b", "c"] {
        setting.s3.put(key, b"").await;
    }
    let object = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
    let delete = Delete::builder().objects(object("a")).objects(object("c")).objects(object("none"));
    let deleted = setting
        .s3
        .client
        .delete_objects()
        .bucket(&setting.s3.bucket)
        .delete(delete.build().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (3, 0));
    assert_eq!(listed(&setting.s3, "", None, 10).await, ["b"]);
    let many = (0..1001).map(|number| object(&number.to_string())).collect();
    let many = Delete::builder().set_objects(Some(many)).build().unwrap();
    assert_eq!(
        code(setting.s3.client.delete_objects().bucket(&setting.s3.bucket).delete(many).send().await),
        "MalformedXML"
    );
}

#[tokio::test]
async fn a_body_that_is_not_what_was_claimed_is_refused() {
    let setting = Setting::new().await;
    let claimed = setting.s3.write("a").body(ByteStream::from_static(b"body"));
    assert_eq!(code(claimed.checksum_crc32("AAAAAA==").send().await), "BadDigest");
    let claimed = setting.s3.write("a").body(ByteStream::from_static(b"body"));
    assert_eq!(code(claimed.content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await), "BadDigest");
    assert!(listed(&setting.s3, "", None, 10).await.is_empty());
    let written = setting.s3.write("a").body(ByteStream::from_static(b"body"));
    written.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap();
    let head = setting.s3.head("a").checksum_mode(ChecksumMode::Enabled);
    let head = head.send().await.unwrap();
    assert_eq!(head.checksum_sha256(), Some("Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU="));
}

#[tokio::test]
async fn a_request_signed_with_another_secret_is_refused() {
    let setting = Setting::new().await;
    let stranger = s3_client(&setting.s3_endpoint, "another", RetryConfig::disabled());
    assert_eq!(
        code(stranger.get_object().bucket(&setting.s3.bucket).key("a").send().await),
        "SignatureDoesNotMatch"
    );
}

#[tokio::test]
async fn a_copy_keeps_what_was_said_of_the_object_or_replaces_it() {
    let setting = Setting::new().await;
    let written = setting.s3.write("a b").body(ByteStream::from_static(b"body"));
    written.metadata("writer", "w1").send().await.unwrap();
    let copy = |to: &str| {
        setting
            .s3
            .client
            .copy_object()
            .bucket(&setting.s3.bucket)
            .key(to)
            .copy_source(format!("{}/a%20b", setting.s3.bucket))
    };
    copy("kept").send().await.unwrap();
    let replaced = copy("replaced").metadata_directive(MetadataDirective::Replace);
    replaced.metadata("writer", "w2").send().await.unwrap();
    for (key, writer) in [("kept", "w1"), ("replaced", "w2")] {
        let head = setting.s3.head(key).send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["writer"], writer);
        assert_eq!(setting.s3.read(key).await, b"body");
    }
    assert_eq!(code(copy("x").copy_source_if_match("\"other\"").send().await), "PreconditionFailed");
}

#[tokio::test]
async fn an_upload_in_parts_is_seen_whole_or_not_at_all() {
    let setting = Setting::new().await;
    let begun = setting
        .s3
        .client
        .create_multipart_upload()
        .bucket(&setting.s3.bucket)
        .key("big")
        .metadata("writer", "w1");
    let id = begun.send().await.unwrap().upload_id.unwrap();
    let bodies = [vec![1; 5 << 20], vec![2; 5 << 20], vec![3; 10]];
    let mut parts = Vec::new();
    for (number, body) in (1..).zip(&bodies) {
        let part = setting
            .s3
            .client
            .upload_part()
            .bucket(&setting.s3.bucket)
            .key("big")
            .upload_id(&id)
            .part_number(number);
        let etag = part.body(ByteStream::from(body.clone())).send().await.unwrap().e_tag.unwrap();
        parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let kept = setting
        .s3
        .client
        .list_parts()
        .bucket(&setting.s3.bucket)
        .key("big")
        .upload_id(&id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        kept.parts().iter().filter_map(|part| part.size()).collect::<Vec<_>>(),
        [5 << 20, 5 << 20, 10]
    );
    assert!(listed(&setting.s3, "", None, 10).await.is_empty());
    let complete = |parts: &[CompletedPart]| {
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
        setting
            .s3
            .client
            .complete_multipart_upload()
            .bucket(&setting.s3.bucket)
            .key("big")
            .upload_id(&id)
            .multipart_upload(upload)
    };
    let reversed: Vec<_> = parts.iter().rev().cloned().collect();
    assert_eq!(code(complete(&reversed).send().await), "InvalidPartOrder");
    let wrong = [CompletedPart::builder().part_number(1).e_tag("\"other\"").build()];
    assert_eq!(code(complete(&wrong).send().await), "InvalidPart");
    let completed = complete(&parts).if_none_match("*").send().await.unwrap();
    assert!(completed.e_tag().unwrap().ends_with("-3\""), "{:?}", completed.e_tag());
    assert_eq!(setting.s3.read("big").await, bodies.concat());
    let head = setting.s3.head("big").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["writer"], "w1");
    assert_eq!(code(complete(&parts).send().await), "NoSuchUpload");
}

#[tokio::test]
async fn uploads_that_are_not_complete_are_listed_until_they_are_aborted() {
    let setting = Setting::new().await;
    let begun = setting
        .s3
        .client
        .create_multipart_upload()
        .bucket(&setting.s3.bucket)
        .key("big")
        .send()
        .await
        .unwrap();
    let id = begun.upload_id().unwrap();
    let uploads = setting.s3.client.list_multipart_uploads().bucket(&setting.s3.bucket).send().await.unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id));
    let mut parts = Vec::new();
    for number in 1..=2 {
        let part = setting
            .s3
            .client
            .upload_part()
            .bucket(&setting.s3.bucket)
            .key("big")
            .upload_id(id)
            .part_number(number);
        let etag = part.body(ByteStream::from_static(b"small")).send().await.unwrap().e_tag.unwrap();
        parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let upload = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete =
        setting.s3.client.complete_multipart_upload().bucket(&setting.s3.bucket).key("big").upload_id(id);
    assert_eq!(code(complete.multipart_upload(upload).send().await), "EntityTooSmall");
    setting
        .s3
        .client
        .abort_multipart_upload()
        .bucket(&setting.s3.bucket)
        .key("big")
        .upload_id(id)
        .send()
        .await
        .unwrap();
    let uploads = setting.s3.client.list_multipart_uploads().bucket(&setting.s3.bucket).send().await.unwrap();
    assert!(uploads.uploads().is_empty());
}
