//! Generated events, as a service would have stored them: most are the first of their pair, some change a rating, some
//! come twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use recstore_aws::config::IngestConfig;
use recstore_aws::lake::bronze::object::ClaimId;
use recstore_aws::lake::bronze::writer::{BronzeWriter, BronzeWriterParts};
use recstore_aws::lake::keys::WriterId;
use recstore_aws::lake::store::LakeStore;
use recstore_core::{Namespace, Rating, StoreContext};
use recstore_testkit::synthetic::SyntheticOptions;

use crate::Fault;

/// Events in one object.
const BATCH: usize = 100_000;
/// Of so many pairs one is rated again, and of one the event comes twice.
const AGAIN_OF: u64 = 20;
const TWICE_OF: u64 = 50;
/// How many events later that is.
const LATER: usize = 200_000;

/// Stores `count` events.
pub(crate) async fn make(store: LakeStore, namespace: Namespace, count: u64) -> Result<(), Fault> {
    let parts = BronzeWriterParts {
        store,
        namespace,
        writer: WriterId::new("bench")?,
        claim: ClaimId::from_random(7),
        ingest: IngestConfig { linger: Duration::ZERO, ..IngestConfig::default() },
        clock: Arc::clone(&StoreContext::default().clock),
    };
    let writer = BronzeWriter::spawn(parts)?;
    let mut batch = Vec::with_capacity(BATCH);
    for event in events(count)? {
        batch.push(event);
        if batch.len() == BATCH {
            writer.append(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)), None).await?;
        }
    }
    writer.append(batch, None).await?;
    writer.close().await;
    Ok(())
}

/// As many users and items for each rating as MovieLens 20M has.
fn events(count: u64) -> Result<impl Iterator<Item = Rating>, Fault> {
    let scale = (count as f64 / 20e6).sqrt();
    let of = |most: f64| (most * scale).ceil() as u64 + 1;
    let options = SyntheticOptions { users: of(140_000.0), items: of(27_000.0), ratings: count, seed: 7 };
    let mut later: VecDeque<Rating> = VecDeque::new();
    let mut pairs = (1_u64..).zip(options.ratings()?);
    Ok(std::iter::from_fn(move || {
        if later.len() >= LATER / 15 {
            return later.pop_front();
        }
        let (number, event) = pairs.next()?;
        if number % AGAIN_OF == 0 {
            later.push_back(changed(&event));
        }
        if number % TWICE_OF == 0 {
            later.push_back(event.clone());
        }
        Some(event)
    })
    .take(usize::try_from(count)?))
}

/// The same pair a day later, with another value.
fn changed(event: &Rating) -> Rating {
    let value = event.value().map_or(3.0, |value| 5.5 - value.as_f64());
    let at = event.rated_at().saturating_add(Duration::from_secs(86_400));
    // A value of half stars is one.
    Rating::new(event.user().clone(), event.item().clone(), value, at).unwrap_or_else(|_| event.clone())
}
