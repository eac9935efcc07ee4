//! The quick start of the README.

use recstore::{
    BuildOptions, Config, FeatureRequest, ItemId, Outcome, PutOptions, Rating, RecommendOptions,
    SimilarityStoreExt, Timestamp, UserId, build_release, recommend,
};

#[tokio::main]
async fn main() -> recstore::Result<()> {
    let mut config = Config::default();
    config.set("database.path", "quickstart.db")?;
    let storage = recstore::open(&config).await?;

    // Ratings in, as one atomic batch. On `Ok` they are synced to the disk.
    let at = Timestamp::parse("2026-01-15T10:30:00Z")?;
    let stars = [
        ("ann", "heat", 5.0),
        ("ann", "alien", 3.0),
        ("bob", "heat", 4.5),
        ("bob", "fargo", 4.0),
        ("cat", "alien", 3.5),
    ];
    let mut events = Vec::new();
    for (user, item, value) in stars {
        events.push(Rating::new(user.parse()?, item.parse()?, value, at)?);
    }
    let receipt = storage.put_ratings(events, PutOptions::default()).await?;
    println!("{} new, {} known", receipt.count(Outcome::Applied), receipt.count(Outcome::Duplicate));

    // Features out, up to date with the last write.
    let ann: UserId = "ann".parse()?;
    let features = storage.get_features(FeatureRequest::of_users([ann.clone()])).await?;
    println!("ann's mean: {:?}", features.value(0, "rating_mean"));

    // Neighbours out: a release is built, checked and promoted as one. One that fails a check is not promoted.
    let options = BuildOptions::default().with_similarity(config.similarity);
    build_release(storage.as_ref(), &options).await?.checks.require()?;
    let heat: ItemId = "heat".parse()?;
    for neighbour in storage.neighbours_of(&heat, 5).await?.unwrap_or_default() {
        println!("like heat: {} {:.3}", neighbour.id, neighbour.similarity);
    }

    // Recommendations: what is like the items that ann liked, without those that she knows.
    for item in recommend(storage.as_ref(), &ann, RecommendOptions::default()).await? {
        println!("for ann: {} {:.2}", item.id, item.score);
    }
    storage.close().await
}
