//! Buckets of silver tables: loaded and checked, stored under names that tell their content; and the tables' logs.

use std::collections::BTreeMap;

use bytes::Bytes;
use recstore_core::{
    BayesianPrior, EntityKey, EntityKind, FeatureName, GroupSchema, Namespace, RatingRow, RatingStats, Result,
};

use super::custom::Entry;
use super::manifest::Manifest;
use crate::lake::commit::{CommitDocument, TableFile, TableFiles};
use crate::lake::documents::read_object;
use crate::lake::offload::offload;
use crate::lake::silver;
use crate::lake::silver::custom::{CustomDecoder, CustomEncoder, custom_columns};
use crate::lake::silver::delta::DeltaCommit;
use crate::lake::silver::features::{FeatureDecoder, FeatureEncoder, feature_columns};
use crate::lake::silver::file::{DataFile, EncodedFile};
use crate::lake::silver::keys::{SilverTable, TableKey};
use crate::lake::silver::ratings::{RatingDecoder, RatingEncoder, RatingOrder, rating_columns};
use crate::lake::store::LakeStore;
use crate::online::custom::CustomRow;

/// The silver tables of one namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SilverTables {
    store: LakeStore,
    namespace: Namespace,
}

/// The statistics of entities, in order of id.
pub(crate) type Statistics = Vec<(EntityKey, RatingStats)>;

impl SilverTables {
    pub(crate) fn new(store: LakeStore, namespace: Namespace) -> SilverTables {
        SilverTables { store, namespace }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn key(&self, table: SilverTable) -> TableKey {
        TableKey { namespace: self.namespace.clone(), table }
    }

    /// A file of rating rows, to be read batch by batch.
    ///
    /// # Errors
    /// `Corrupt`, which names the file, if it is gone or not what was stored; those of the object store.
    pub(crate) async fn open_ratings(&self, of: EntityKind, file: &TableFile) -> Result<RatingDecoder> {
        let body = read_object(&self.store, &file.object, None).await?;
        RatingDecoder::open(&file.object.name, body, order(of))
    }

    /// The file of a bucket's rating rows, to be read batch by batch, and how many they are; `None` if it has none.
    ///
    /// # Errors
    /// As [`open_ratings`](Self::open_ratings).
    pub(crate) async fn open_ratings_of(
        &self,
        of: EntityKind,
        table: &TableFiles,
        bucket: u32,
    ) -> Result<Option<(RatingDecoder, u64)>> {
        match table.buckets.get(&bucket) {
            Some(file) => Ok(Some((self.open_ratings(of, file).await?, file.rows))),
            None => Ok(None),
        }
    }

    /// The rows of a file.
    ///
    /// # Errors
    /// As [`open_ratings`](Self::open_ratings).
    pub(crate) async fn ratings(&self, of: EntityKind, file: &TableFile) -> Result<Vec<RatingRow>> {
        let decoder = self.open_ratings(of, file).await?;
        let rows = file.rows;
        offload(true, move || collected(decoder, rows)).await?
    }

    /// The rows of a bucket; none if it has no file.
    ///
    /// # Errors
    /// As [`open_ratings`](Self::open_ratings).
    pub(crate) async fn ratings_of(
        &self,
        of: EntityKind,
        table: &TableFiles,
        bucket: u32,
    ) -> Result<Vec<RatingRow>> {
        match table.buckets.get(&bucket) {
            Some(file) => self.ratings(of, file).await,
            None => Ok(Vec::new()),
        }
    }

    /// The statistics of a file.
    ///
    /// # Errors
    /// As [`open_ratings`](Self::open_ratings).
    pub(crate) async fn features(&self, file: &TableFile) -> Result<Statistics> {
        let body = read_object(&self.store, &file.object, None).await?;
        let decoder = FeatureDecoder::open(&file.object.name, body)?;
        let rows = file.rows;
        offload(true, move || collected(decoder, rows)).await?
    }

    /// The statistics of a bucket; none if it has no file.
    ///
    /// # Errors
    /// As [`open_ratings`](Self::open_ratings).
    pub(crate) async fn features_of(&self, table: &TableFiles, bucket: u32) -> Result<Statistics> {
        match table.buckets.get(&bucket) {
            Some(file) => self.features(file).await,
            None => Ok(Vec::new()),
        }
    }

    /// Stores the encoded rows of a bucket; no file if there are none.
    ///
    /// # Errors
    /// Those of the object store.
    pub(crate) async fn store_ratings(
        &self,
        of: EntityKind,
        generation: u64,
        bucket: u32,
        encoded: EncodedFile,
    ) -> Result<Option<TableFile>> {
        self.store(ratings_table(of), generation, bucket, encoded).await
    }

    /// Stores the encoded statistics of a bucket; no file if there are none.
    ///
    /// # Errors
    /// Those of the object store.
    pub(crate) async fn store_features(
        &self,
        of: EntityKind,
        generation: u64,
        bucket: u32,
        encoded: EncodedFile,
    ) -> Result<Option<TableFile>> {
        self.store(SilverTable::features_of(of), generation, bucket, encoded).await
    }

    /// The rows of a bucket of a custom group; none if it has no file.
    ///
    /// # Errors
    /// As [`open_ratings`](Self::open_ratings).
    pub(crate) async fn custom_of(
        &self,
        group: &GroupSchema,
        table: Option<&TableFiles>,
        bucket: u32,
    ) -> Result<Vec<Entry>> {
        let Some(file) = table.and_then(|table| table.buckets.get(&bucket)) else { return Ok(Vec::new()) };
        let body = read_object(&self.store, &file.object, None).await?;
        let decoder = CustomDecoder::open(&file.object.name, body, group)?;
        let rows = file.rows;
        let rows = offload(true, move || collected(decoder, rows)).await??;
        Ok(rows.into_iter().map(|row| (row.id, CustomRow::new(row.event_time, row.row))).collect())
    }

    /// Stores the rows of a bucket of a custom group; no file if there are none.
    ///
    /// # Errors
    /// Those of the object store.
    pub(crate) async fn store_custom(
        &self,
        group: &GroupSchema,
        generation: u64,
        bucket: u32,
        rows: Vec<Entry>,
    ) -> Result<Option<TableFile>> {
        let schema = group.clone();
        let encoded = offload(true, move || {
            let mut encoder = CustomEncoder::new(&schema)?;
            for (id, CustomRow { event_time, encoded, .. }) in rows {
                encoder.push(&silver::custom::CustomRow { id, event_time, row: encoded })?;
            }
            encoder.finish()
        });
        self.store(SilverTable::Custom(group.name.clone()), generation, bucket, encoded.await??).await
    }

    async fn store(
        &self,
        table: SilverTable,
        generation: u64,
        bucket: u32,
        encoded: EncodedFile,
    ) -> Result<Option<TableFile>> {
        if encoded.rows == 0 {
            return Ok(None);
        }
        let file = DataFile::new(&self.key(table), bucket, generation, &encoded);
        let EncodedFile { bytes, rows, live } = encoded;
        self.store.store_content(&file.name, &bytes, "application/vnd.apache.parquet").await?;
        Ok(Some(TableFile { object: file.object(), rows, live }))
    }

    /// Writes the log entries of a generation, by which other tools read the tables. Idempotent.
    ///
    /// # Errors
    /// Those of the object store; `Corrupt` if another entry has the name.
    pub(crate) async fn log(
        &self,
        base: &CommitDocument,
        next: &CommitDocument,
        groups: &BTreeMap<FeatureName, GroupSchema>,
        manifest: &Manifest,
    ) -> Result<()> {
        for (name, table) in &next.custom {
            let Some(group) = groups.get(name) else { continue };
            let before = base.custom.get(name).cloned().unwrap_or_default();
            let columns = custom_columns(group);
            self.log_table(SilverTable::Custom(name.clone()), (&before, table), columns, manifest).await?;
        }
        for kind in [EntityKind::User, EntityKind::Item] {
            let tables = (base.rating_table(kind), next.rating_table(kind));
            let columns = rating_columns(order(kind));
            self.log_table(ratings_table(kind), tables, columns, manifest).await?;
            let tables = (base.feature_table(kind), next.feature_table(kind));
            self.log_table(SilverTable::features_of(kind), tables, feature_columns(kind), manifest).await?;
        }
        Ok(())
    }

    async fn log_table(
        &self,
        table: SilverTable,
        (base, next): (&TableFiles, &TableFiles),
        columns: arrow::datatypes::SchemaRef,
        manifest: &Manifest,
    ) -> Result<()> {
        if base.versions == next.versions {
            return Ok(());
        }
        let version = next.versions - 1;
        let not_in = |files: &TableFiles, others: &TableFiles| {
            let files =
                files.buckets.iter().filter(|(bucket, file)| others.buckets.get(bucket) != Some(file));
            files.map(|(_, file)| DataFile::of(&file.object, file.rows)).collect::<Result<Vec<_>>>()
        };
        let (added, removed) = (not_in(next, base)?, not_in(base, next)?);
        let key = self.key(table);
        let commit = DeltaCommit {
            table: &key,
            version,
            generation: manifest.generation,
            time: manifest.created_at,
            columns: (version == 0 || base.columns != next.columns).then_some(columns),
            added: &added,
            removed: &removed,
        };
        let bytes: Bytes = commit.bytes()?;
        self.store.store_content(&commit.name(), &bytes, "application/json").await
    }
}

/// A file of rating rows that is to be made.
///
/// # Errors
/// `Internal` if it cannot be begun.
pub(crate) fn rating_encoder(of: EntityKind) -> Result<RatingEncoder> {
    RatingEncoder::new(order(of))
}

/// A file of statistics, in order of id.
///
/// # Errors
/// `Internal` if it cannot be made.
pub(crate) fn encoded_features(
    of: EntityKind,
    prior: BayesianPrior,
    rows: &[(EntityKey, RatingStats)],
) -> Result<EncodedFile> {
    let mut encoder = FeatureEncoder::new(of, prior)?;
    rows.iter().try_for_each(|(id, stats)| encoder.push(id, stats))?;
    encoder.finish()
}

fn order(of: EntityKind) -> RatingOrder {
    match of {
        EntityKind::User => RatingOrder::ByUser,
        EntityKind::Item => RatingOrder::ByItem,
    }
}

fn ratings_table(of: EntityKind) -> SilverTable {
    match of {
        EntityKind::User => SilverTable::Ratings,
        EntityKind::Item => SilverTable::RatingsByItem,
    }
}

fn collected<T>(decoder: impl Iterator<Item = Result<Vec<T>>>, rows: u64) -> Result<Vec<T>> {
    let mut all = Vec::with_capacity(usize::try_from(rows).unwrap_or(0));
    for batch in decoder {
        all.extend(batch?);
    }
    Ok(all)
}
