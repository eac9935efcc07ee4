//! One function per route.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use recstore::{
    Deadline, Error, ErrorKind, FeatureRequest, Health, ItemId, NeighbourRequest, PutOptions,
    RecommendOptions, Recommendation, RowStatus, UserId, recommend,
};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::{App, CALL_TIMEOUT, MAX_BODY_BYTES, answer, body};

type Answer = Result<Json<Value>, Failure>;
type Id = Result<Path<String>, PathRejection>;
type Count = Result<Query<CountQuery>, QueryRejection>;

/// The most entries of a list that can be asked for.
const MAX_COUNT: usize = 1000;

/// `?k=10`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountQuery {
    k: Option<usize>,
}

/// Every route of the service.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/ratings", post(put_ratings))
        .route("/users/{id}/features", get(user_features))
        .route("/items/{id}/features", get(item_features))
        .route("/items/{id}/similar", get(similar))
        .route("/users/{id}/recommendations", get(recommendations))
        .route("/health", get(health))
        .fallback(|| async { Failure::not_found("there is no such route") })
        .method_not_allowed_fallback(|| async {
            let error = Error::new(ErrorKind::Unsupported, "the route does not take this method");
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

async fn put_ratings(State(app): State<App>, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let bytes = bytes.map_err(|cause| {
        let text = match cause.status() {
            StatusCode::PAYLOAD_TOO_LARGE => format!("is longer than {MAX_BODY_BYTES} bytes"),
            _ => cause.body_text().to_lowercase(),
        };
        Failure::new(cause.status(), Error::invalid("body", text))
    })?;
    let events = body::events(&bytes, app.clock.now())?;
    let options = PutOptions::default().with_deadline(Deadline::after(CALL_TIMEOUT));
    let receipt = app.storage.put_ratings(events, options).await?;
    Ok(Json(answer::receipt(&receipt)))
}

async fn user_features(State(app): State<App>, id: Id) -> Answer {
    features(&app, FeatureRequest::of_users([UserId::new(text(id)?)?])).await
}

async fn item_features(State(app): State<App>, id: Id) -> Answer {
    features(&app, FeatureRequest::of_items([ItemId::new(text(id)?)?])).await
}

/// The first row of an answer.
async fn features(app: &App, request: FeatureRequest) -> Answer {
    let batch = app.storage.get_features(request.with_deadline(Deadline::after(CALL_TIMEOUT))).await?;
    match batch.status.first() {
        Some(RowStatus::Found { .. }) => Ok(Json(answer::features(&batch, 0))),
        Some(RowStatus::Failed { kind, reason }) => Err(Error::new(*kind, reason.clone()).into()),
        _ => Err(Failure::not_found("there is no rating of this id")),
    }
}

async fn similar(State(app): State<App>, id: Id, count: Count) -> Answer {
    let item = ItemId::new(text(id)?)?;
    let request = NeighbourRequest::of_items([item.clone()])
        .with_limit(self::count(count)?)
        .with_deadline(Deadline::after(CALL_TIMEOUT));
    let found = app.storage.get_neighbours(request).await?;
    let release = found.release;
    let list = found.lists.into_iter().next().map_or(Ok(None), recstore::Lookup::into_result)?;
    match list {
        Some(list) => Ok(Json(answer::neighbours(item.as_str(), release.as_ref(), &list))),
        None => Err(Failure::not_found("the current release has no list of this item")),
    }
}

async fn recommendations(
    State(app): State<App>,
    id: Id,
    count: Count,
) -> Result<Json<Vec<Recommendation>>, Failure> {
    let user = UserId::new(text(id)?)?;
    let options =
        RecommendOptions::default().with_k(self::count(count)?).with_deadline(Deadline::after(CALL_TIMEOUT));
    Ok(Json(recommend(app.storage.as_ref(), &user, options).await?))
}

async fn health(State(app): State<App>) -> Result<(StatusCode, Json<Health>), Failure> {
    let health = app.storage.health().await?;
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)))
}

/// The id in the path, percent-decoded.
fn text(id: Id) -> Result<String, Failure> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(cause) => {
            Err(Failure::new(cause.status(), Error::invalid("id", cause.body_text().to_lowercase())))
        }
    }
}

fn count(count: Count) -> Result<usize, Failure> {
    let wrong = |text: String| Failure::from(Error::invalid("k", text));
    match count {
        Err(_) => Err(wrong(format!("the only parameter is k, 1 to {MAX_COUNT}"))),
        Ok(Query(CountQuery { k })) => match k.unwrap_or(10) {
            count @ 1..=MAX_COUNT => Ok(count),
            count => Err(wrong(format!("{count} is not 1 to {MAX_COUNT}"))),
        },
    }
}
