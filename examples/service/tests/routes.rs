//! Each route, asked over a real connection.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod client;

use std::net::SocketAddr;
use std::sync::Arc;

use recstore::{BuildOptions, Config, ItemId, ManualClock, Opener, Timestamp, build_release};
use recstore_service::{App, MAX_BODY_BYTES};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const NOW: i64 = 1_700_000_000_000;

/// A service on a port of its own, with an empty store in memory.
struct Service {
    app: App,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    async fn start() -> Service {
        let config = Config::from_yaml("storage_mode: memory", "").unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW).unwrap()));
        let storage = Opener::new(&config).clock(clock.clone()).open().await.unwrap();
        let app = App { storage, clock };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(recstore_service::serve(listener, app.clone(), async {
            let _ = stopped.await;
        }));
        Service { app, address, stop, serving }
    }

    async fn ask(&self, method: &'static str, path: &str, body: impl ToString) -> (u16, Value) {
        let (address, path, body) = (self.address, path.to_owned(), body.to_string());
        tokio::task::spawn_blocking(move || client::ask(address, method, &path, &body)).await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").await
    }

    async fn post(&self, body: impl ToString) -> (u16, Value) {
        self.ask("POST", "/ratings", body).await
    }
}

fn event(user: u64, item: u64, value: f64) -> Value {
    json!({ "user": user, "item": item, "value": value, "rated_at": NOW })
}

#[tokio::test]
async fn one_rating_or_many_are_stored_once() {
    let service = Service::start().await;
    let (status, receipt) = service.post(event(1, 1, 4.0)).await;
    assert_eq!((status, &receipt["applied"]), (200, &json!(1)));
    let many = json!([event(1, 1, 4.0), event(2, 1, 2.0), event(1, 1, 4.0)]);
    let (status, receipt) = service.post(many).await;
    assert_eq!(status, 200);
    assert_eq!(receipt, json!({ "applied": 1, "stale": 0, "duplicate": 2, "erased": 0, "conflicts": [] }));
    assert_eq!(service.post("[]").await.0, 200);
}

#[tokio::test]
async fn features_follow_each_write() {
    let service = Service::start().await;
    service.post(json!([event(1, 7, 4.0), event(2, 7, 2.0)])).await;
    let (status, item) = service.get("/items/7/features").await;
    assert_eq!(status, 200);
    assert_eq!(item["id"], "7");
    assert_eq!(item["columns"]["rating_count"], 2);
    assert_eq!(item["columns"]["rating_mean"], 3.0);
    assert_eq!(item["columns"]["last_rated_at"], NOW);
    let (_, user) = service.get("/users/1/features").await;
    assert_eq!(user["columns"]["rating_max"], 4.0);

    let withdrawal = json!({ "user": "1", "item": "7", "value": null, "rated_at": "2023-11-14T22:13:21Z" });
    assert_eq!(service.post(withdrawal).await.0, 200);
    assert_eq!(service.get("/items/7/features").await.1["columns"]["rating_mean"], 2.0);
    assert_eq!(service.get("/users/1/features").await.0, 404);
}

#[tokio::test]
async fn neighbours_and_recommendations_come_from_the_current_release() {
    let service = Service::start().await;
    assert_eq!(service.get("/users/1/recommendations").await, (200, json!([])));
    let likes = [(1, 10), (1, 20), (2, 10), (2, 20), (2, 30), (3, 20), (3, 30)];
    let events: Vec<Value> = likes.iter().map(|&(user, item)| event(user, item, 4.0)).collect();
    service.post(json!(events)).await;
    let storage = service.app.storage.as_ref();
    build_release(storage, &BuildOptions::default()).await.unwrap().checks.require().unwrap();

    let (status, similar) = service.get("/items/20/similar?k=1").await;
    assert_eq!((status, &similar["id"]), (200, &json!("20")));
    assert!(similar["release"].as_str().unwrap().starts_with("item-"));
    // Two common raters with each: the tie is decided by the id.
    let neighbours = similar["neighbours"].as_array().unwrap();
    assert_eq!(
        (neighbours.len(), &neighbours[0]["id"], &neighbours[0]["common"]),
        (1, &json!("10"), &json!(2))
    );

    let ids = |answer: Value| -> Vec<String> {
        answer.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(service.get("/users/1/recommendations").await.1), ["30"]);
    // Nothing is known of this user: the most popular items.
    assert_eq!(ids(service.get("/users/9/recommendations?k=2").await.1), ["20", "10"]);
    storage.hide_items(vec![ItemId::from(30)]).await.unwrap();
    assert_eq!(service.get("/users/1/recommendations").await, (200, json!([])));
}

#[tokio::test]
async fn ids_in_paths_are_percent_decoded() {
    let service = Service::start().await;
    service.post(json!({ "user": -7, "item": 1, "value": 1 })).await;
    assert_eq!(service.get("/users/-7/features").await.1["id"], "-7");
    let id = "a/b #%?🎬";
    service.post(json!({ "user": id, "item": 1, "value": 1 })).await;
    let (status, features) = service.get("/users/a%2Fb%20%23%25%3F%F0%9F%8E%AC/features").await;
    assert_eq!((status, &features["id"]), (200, &json!(id)));
}

#[tokio::test]
async fn wrong_input_is_refused_with_the_field() {
    let service = Service::start().await;
    let wrong = [
        (json!([event(1, 1, 1.0), event(1, 2, 2e6)]), "events[1].value"),
        (json!({ "user": "", "item": 1, "value": 1 }), "events[0].user"),
        (json!({ "user": 1, "item": "a\nb", "value": 1 }), "events[0].item"),
        (json!({ "user": 1, "item": 1, "value": 1, "rated_at": -1 }), "events[0].rated_at"),
        (
            json!({ "user": 1, "item": 1, "value": 1, "rated_at": "1900-01-01T00:00:00Z" }),
            "events[0].rated_at",
        ),
        (json!({ "user": 1, "item": 1, "value": 1, "rated_at": NOW + 90_000_000 }), "events[0].rated_at"),
        (json!({ "user": 1, "item": 1, "value": 1, "event_id": "42" }), "events[0].event_id"),
        // A forgotten value is no withdrawal.
        (json!({ "user": 1, "item": 1 }), "body"),
        (json!({ "user": 1, "item": 1, "value": 1, "valeu": 2 }), "body"),
        (json!(7), "body"),
    ];
    for (body, field) in wrong {
        let (status, answer) = service.post(&body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert_eq!(answer["error"]["kind"], "invalid", "{body}");
        assert_eq!(answer["error"]["field"], field, "{body}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    for (body, words) in [
        (json!({ "user": 1.5, "item": 1, "value": 1 }), "an id is text or an integer"),
        (json!({ "user": 1, "item": true, "value": 1 }), "an id is text or an integer"),
        (json!({ "user": 1, "item": 1, "value": 1, "rated_at": 1.5 }), "a time is RFC 3339, or whole"),
    ] {
        let message = service.post(&body).await.1["error"]["message"].take();
        assert!(message.as_str().unwrap().contains(words), "{body}: {message}");
    }
    for body in ["", "{", "NaN", "[{\"user\":1,\"item\":1,\"value\":NaN}]"] {
        assert_eq!(service.post(body).await.0, 400, "{body}");
    }
    // The first, valid event of the first batch was refused with the second.
    assert_eq!(service.get("/users/1/features").await.0, 404);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let service = Service::start().await;
    for path in ["/users/1/features", "/items/1/features", "/items/1/similar", "/nowhere", "/"] {
        let (status, answer) = service.get(path).await;
        assert_eq!((status, &answer["error"]["kind"]), (404, &json!("not_found")), "{path}");
    }
    assert_eq!(service.ask("DELETE", "/ratings", "").await.0, 405);
    assert_eq!(service.get("/users/%FF/features").await.0, 400);
    assert_eq!(service.get(&format!("/users/{}/features", "x".repeat(513))).await.0, 400);
    for query in ["k=0", "k=1001", "k=ten", "count=3"] {
        let (status, answer) = service.get(&format!("/items/1/similar?{query}")).await;
        assert_eq!((status, &answer["error"]["field"]), (400, &json!("k")), "{query}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let service = Service::start().await;
    let (status, answer) = service.post(" ".repeat(MAX_BODY_BYTES + 1)).await;
    assert_eq!((status, &answer["error"]["kind"]), (413, &json!("invalid")));
    assert_eq!(answer["error"]["message"], format!("is longer than {MAX_BODY_BYTES} bytes"));
    assert_eq!(service.get("/health").await.0, 200);
}

#[tokio::test]
async fn it_ends_when_told_to_and_closes_the_store() {
    let service = Service::start().await;
    let (status, health) = service.get("/health").await;
    assert_eq!((status, &health["ok"]), (200, &json!(true)));
    service.stop.send(()).unwrap();
    service.serving.await.unwrap().unwrap();
    assert_eq!(service.app.storage.health().await.unwrap_err().kind(), recstore::ErrorKind::Closed);
}
