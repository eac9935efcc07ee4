//! Teardown: what set-up made is removed, and nothing else.

use recstore_aws::setup::Confirmation;
use recstore_core::ErrorKind;

use crate::support::{Place, soon};

#[tokio::test(flavor = "multi_thread")]
async fn what_set_up_made_is_removed_once_the_bucket_is_named() {
    let place = Place::new().await;
    let setup = place.made().await;
    let confirmed = place.confirmation();
    for bucket in ["", "other-bucket", &place.bucket().to_uppercase()] {
        let wrong = Confirmation { bucket, ..confirmed };
        assert_eq!(setup.teardown(wrong, soon()).await.unwrap_err().field(), Some("bucket"));
    }
    for table_prefix in ["", "recstore_", place.bucket()] {
        let wrong = Confirmation { table_prefix, ..confirmed };
        assert_eq!(setup.teardown(wrong, soon()).await.unwrap_err().field(), Some("table_prefix"));
    }
    assert_eq!(place.tables().await, 6);
    let removed = setup.teardown(place.confirmation(), soon()).await.unwrap();
    assert_eq!((removed.bucket, removed.tables.len(), place.tables().await), (true, 6, 0));
    assert!(place.s3.head_bucket().bucket(place.bucket()).send().await.is_err());
    let again = setup.teardown(place.confirmation(), soon()).await.unwrap();
    assert_eq!((again.bucket, again.tables.len()), (false, 0));
    assert_eq!(setup.plan(soon()).await.unwrap().steps.len(), 11, "it can be made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_any_object_is_refused_and_the_tables_stay() {
    let place = Place::new().await;
    let setup = place.made().await;
    place.put_object("anything").await;
    let error = setup.teardown(place.confirmation(), soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(place.bucket())));
    assert_eq!((place.objects().await, place.tables().await), (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_a_reason_to_remove_nothing() {
    let place = Place::new().await;
    let setup = place.made().await;
    let table = place.table("control");
    place.dynamodb.delete_table().table_name(&table).send().await.unwrap();
    place.create_foreign_table("control").await;
    let error = setup.teardown(place.confirmation(), soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(table.as_str())));
    assert_eq!(place.tables().await, 6);
    assert!(place.s3.head_bucket().bucket(place.bucket()).send().await.is_ok());
}
