//! The quick start of the README.

use recstore::{Config, FeatureRequest, Outcome, PutOptions, Rating, Timestamp};

#[tokio::main]
async fn main() -> recstore::Result<()> {
    let mut config = Config::default();
    config.set("database.path", "quickstart.db")?;
    let storage = recstore::open(&config).await?;

    // Ratings in, as one atomic batch. On `Ok` they are synced to the disk.
    let at = Timestamp::parse("2026-01-15T10:30:00Z")?;
    let stars = [("ann", "heat", 5.0), ("ann", "alien", 4.0), ("bob", "heat", 4.0), ("bob", "alien", 3.5)];
    let mut events = Vec::new();
    for (user, item, value) in stars {
        events.push(Rating::new(user.parse()?, item.parse()?, value, at)?);
    }
    let receipt = storage.put_ratings(events, PutOptions::default()).await?;
    println!("{} new, {} known", receipt.count(Outcome::Applied), receipt.count(Outcome::Duplicate));

    // Features out, up to date with the last write.
    let features = storage.get_features(FeatureRequest::of_users(["ann".parse()?])).await?;
    println!("ann's mean: {:?}", features.value(0, "rating_mean"));

    storage.close().await
}
