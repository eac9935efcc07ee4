//! Content hashes of a namespace, from one committed state of the lake.

use futures::stream::{self, StreamExt, TryStreamExt};
use recstore_core::{EntityKind, FingerprintBuilder, Fingerprints, NeighbourList, Result};

use crate::backend::AwsStorage;
use crate::lake::head::Snapshot;
use crate::lake::offload::offload;

/// Files read ahead of the one that is hashed.
const READ_AHEAD: usize = 2;

/// The fingerprints of what a snapshot names.
pub(crate) async fn fingerprint(storage: &AwsStorage, snapshot: &Snapshot) -> Result<Fingerprints> {
    let (state, tables, prior) = (&snapshot.state, storage.tables(), storage.shared.context.prior);
    let mut builder = FingerprintBuilder::new();
    for (key, tombstone) in state.tombstones.iter() {
        builder.tombstone(&key.0, tombstone.erased_at, tombstone.barred_until);
    }
    state.hidden.iter().for_each(|item| builder.hidden(item));
    let files: Vec<_> = state.commit.ratings.buckets.values().cloned().collect();
    let mut ratings = stream::iter(files.into_iter().map(|file| {
        let tables = &tables;
        async move { tables.ratings(EntityKind::User, &file).await }
    }))
    .buffered(READ_AHEAD);
    while let Some(rows) = ratings.try_next().await? {
        builder = hashed(builder, move |builder| rows.iter().for_each(|row| builder.rating(row))).await?;
    }
    for group in state.groups.values() {
        builder.group(group);
        let table = state.commit.custom.get(&group.name);
        for bucket in table.iter().flat_map(|table| table.buckets.keys()) {
            let rows = tables.custom_of(group, table, *bucket).await?;
            let group = group.clone();
            builder = hashed(builder, move |builder| {
                rows.iter()
                    .for_each(|(id, row)| builder.feature_row(&group, id, row.event_time, &row.encoded));
            })
            .await?;
        }
    }
    for kind in [EntityKind::User, EntityKind::Item] {
        let files: Vec<_> = state.commit.feature_table(kind).buckets.values().cloned().collect();
        let mut features = stream::iter(files.into_iter().map(|file| {
            let tables = &tables;
            async move { tables.features(&file).await }
        }))
        .buffered(READ_AHEAD);
        while let Some(rows) = features.try_next().await? {
            builder = hashed(builder, move |builder| {
                for (id, stats) in &rows {
                    if let Some(features) = stats.finish(prior) {
                        builder.rating_features(kind, id, &features);
                    }
                }
            })
            .await?;
        }
        let Some(lists) = storage.current_lists(state, kind, None).await? else { continue };
        for list in lists {
            let NeighbourList { id, neighbours } = list?;
            builder.neighbours(kind, &id, &neighbours);
        }
    }
    Ok(builder.finish())
}

/// Hashing is work for a thread of its own.
async fn hashed(
    mut builder: FingerprintBuilder,
    add: impl FnOnce(&mut FingerprintBuilder) + Send + 'static,
) -> Result<FingerprintBuilder> {
    offload(true, move || {
        add(&mut builder);
        builder
    })
    .await
}
