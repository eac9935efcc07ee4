//! Columns of your own beside the built-in ones: a group with a vector, tags and a date for every item.

use recstore::{
    ColumnType, Config, EntityKind, FeatureName, FeatureRequest, FeatureRow, FeatureValue, GroupSchema,
    PutOptions, StorageMode, Timestamp,
};

#[tokio::main]
async fn main() -> recstore::Result<()> {
    let config = Config { storage_mode: StorageMode::Memory, ..Config::default() };
    let storage = recstore::open(&config).await?;

    // A group is declared once. Declaring it again is harmless; columns can be added at its end later.
    let group = FeatureName::new("item_content")?;
    let (embedding, tags, released) =
        (FeatureName::new("embedding")?, FeatureName::new("tags")?, FeatureName::new("released")?);
    let schema = GroupSchema::new(group.clone(), EntityKind::Item)
        .with_column(embedding.clone(), ColumnType::Vector(4))
        .with_column(tags.clone(), ColumnType::TextList)
        .with_column(released.clone(), ColumnType::Timestamp);
    storage.register_group(schema).await?;

    // A row is written whole; columns that are left out are null. The row with the newest event time wins.
    let at = Timestamp::parse("2026-01-15T10:30:00Z")?;
    let heat = FeatureRow::new("heat".parse()?, at)
        .with(embedding.clone(), FeatureValue::Vector(vec![0.1, 0.7, -0.2, 0.4]))
        .with(tags.clone(), FeatureValue::TextList(vec!["crime".into(), "thriller".into()]))
        .with(released, FeatureValue::Timestamp(Timestamp::parse("1995-12-15T00:00:00Z")?));
    let alien = FeatureRow::new("alien".parse()?, at)
        .with(tags.clone(), FeatureValue::TextList(vec!["horror".into()]));
    storage.put_features(&group, vec![heat, alien], PutOptions::default()).await?;

    // Rows come back as columns, in the order asked, each row with its status and each cell with its own.
    let ids = vec!["alien".parse()?, "unheard-of".parse()?, "heat".parse()?];
    let request = FeatureRequest::new(group, ids).with_columns(vec![tags, embedding]);
    let batch = storage.get_features(request).await?;
    for (row, id) in batch.ids.iter().enumerate() {
        let status = batch.status[row].as_str();
        println!(
            "{:<10} {status:<8} {:?} {:?}",
            id.as_str(),
            batch.value(row, "tags"),
            batch.value(row, "embedding")
        );
    }
    storage.close().await
}
