//! DynamoDB through the proxy: single items, conditions, queries and batches.

use crate::clients::{Faulty, Item, Setting, code, item, key};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use recstore_test_cloud::{Action, Keep, Rule};

/// A batch write of these items.
fn writes(items: impl IntoIterator<Item = Item>) -> Vec<WriteRequest> {
    let write = |item| {
        let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    items.into_iter().map(write).collect()
}

fn numbered(count: usize) -> impl Iterator<Item = Item> {
    (0..count).map(|number| item("p", &format!("{number:03}"), &number.to_string()))
}

fn sort_key(item: &Item) -> String {
    item["sk"].as_s().unwrap().clone()
}

#[tokio::test]
async fn an_item_comes_back_as_it_was_put() {
    let setting = Setting::new().await;
    let put = item("p", "a", "12345678901234567890123456789012345678");
    setting.dynamodb.put(put.clone()).send().await.unwrap();
    let get = setting.dynamodb.get(key("p", "a"));
    assert_eq!(get.consistent_read(true).send().await.unwrap().item, Some(put));
    let missing = setting.dynamodb.get(key("p", "b")).send().await;
    assert_eq!(missing.unwrap().item, None);
}

#[tokio::test]
async fn a_put_happens_only_under_its_condition() {
    let setting = Setting::new().await;
    let put = |value: &str| {
        let put = setting.dynamodb.put(item("p", "a", value));
        let put = put.condition_expression("attribute_not_exists(pk) OR #v < :v");
        put.expression_attribute_names("#v", "value")
            .expression_attribute_values(":v", AttributeValue::N(value.to_owned()))
    };
    put("5").send().await.unwrap();
    assert_eq!(code(put("5").send().await), "ConditionalCheckFailedException");
    put("6").send().await.unwrap();
    let get = setting.dynamodb.get(key("p", "a")).send().await;
    assert_eq!(get.unwrap().item, Some(item("p", "a", "6")));
}

#[tokio::test]
async fn a_query_gives_a_partition_in_the_order_of_its_sort_keys() {
    let setting = Setting::new().await;
    for sort in ["b", "a", "c"] {
        let put = setting.dynamodb.put(item("p", sort, "1"));
        put.send().await.unwrap();
    }
    let put = setting.dynamodb.put(item("other", "a", "1"));
    put.send().await.unwrap();
    assert_eq!(setting.dynamodb.stored("p").await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_batch_is_written_and_read_whole() {
    let setting = Setting::new().await;
    let write = setting
        .dynamodb
        .client
        .batch_write_item()
        .request_items(&setting.dynamodb.table, writes(numbered(25)));
    assert!(write.send().await.unwrap().unprocessed_items().unwrap().is_empty());
    let keys = (0..25).map(|number| key("p", &format!("{number:03}"))).collect();
    let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().unwrap();
    let read = setting
        .dynamodb
        .client
        .batch_get_item()
        .request_items(&setting.dynamodb.table, keys)
        .send()
        .await
        .unwrap();
    assert_eq!(read.responses().unwrap()[&setting.dynamodb.table].len(), 25);
}

#[tokio::test]
async fn what_a_partial_batch_leaves_out_is_not_written_and_comes_back() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::dynamodb(Action::Partial(Keep::First(10))).first(1));
    let mut left = writes(numbered(25));
    let mut requests = 0;
    while !left.is_empty() {
        let batch = faulty.dynamodb.client.batch_write_item().request_items(&faulty.dynamodb.table, left);
        let unprocessed = batch.send().await.unwrap().unprocessed_items.unwrap_or_default();
        left = unprocessed.get("table").cloned().unwrap_or_default();
        requests += 1;
        let expected = if requests == 1 { 10 } else { 25 };
        assert_eq!(faulty.direct_dynamodb.stored("p").await.len(), expected);
    }
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn keys_that_a_partial_batch_leaves_out_come_back_with_their_projection() {
    let faulty = Faulty::new().await;
    let write =
        faulty.dynamodb.client.batch_write_item().request_items(&faulty.dynamodb.table, writes(numbered(20)));
    write.send().await.unwrap();
    let hot = faulty.proxy.add(Rule::dynamodb(Action::Partial(Keep::Without("\"007\"".to_owned()))));
    let keys = (0..20).map(|number| key("p", &format!("{number:03}"))).collect();
    let keys =
        KeysAndAttributes::builder().set_keys(Some(keys)).projection_expression("sk").consistent_read(true);
    let read =
        faulty.dynamodb.client.batch_get_item().request_items(&faulty.dynamodb.table, keys.build().unwrap());
    let read = read.send().await.unwrap();
    assert_eq!(read.responses().unwrap()["table"].len(), 19);
    let left = read.unprocessed_keys().unwrap()["table"].clone();
    assert_eq!(left.keys(), [key("p", "007")]);
    assert_eq!((left.projection_expression(), left.consistent_read()), (Some("sk"), Some(true)));
    let again = faulty
        .dynamodb
        .client
        .batch_get_item()
        .request_items(&faulty.dynamodb.table, left.clone())
        .send()
        .await;
    assert_eq!(code(again), "ProvisionedThroughputExceededException");
    faulty.proxy.remove(hot);
    let again = faulty
        .dynamodb
        .client
        .batch_get_item()
        .request_items(&faulty.dynamodb.table, left)
        .send()
        .await
        .unwrap();
    assert_eq!(sort_key(&again.responses().unwrap()["table"][0]), "007");
}
