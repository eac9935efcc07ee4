//! Scans of the silver tables: the buckets of a shard joined in (user, item) order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use recstore_core::{EntityKind, RatingRow, Result, ScanOptions};

use crate::backend::AwsStorage;
use crate::lake::commit::TableFile;
use crate::lake::head::is_barred;
use crate::lake::offload::offload;
use crate::lake::silver::ratings::RatingDecoder;

/// Files opened at a time.
const OPENING: usize = 4;

/// The rows of a shard of the committed generation.
pub(crate) fn ratings(storage: &AwsStorage, options: ScanOptions) -> BoxStream<'_, Result<Vec<RatingRow>>> {
    let begin = async move {
        let snapshot = storage.committed(None).await?;
        let tables = storage.tables();
        let commit = &snapshot.state.commit;
        let Some(buckets) = commit.buckets else { return Joined::new(Vec::new()) };
        let files = commit.ratings.buckets.range(buckets.touched(options.shard));
        let files: Vec<TableFile> = files.map(|(_, file)| file.clone()).collect();
        let opened = stream::iter(files.into_iter().map(|file| {
            let tables = tables.clone();
            async move { tables.open_ratings(EntityKind::User, &file).await }
        }));
        Joined::new(opened.buffered(OPENING).try_collect().await?)
    };
    stream::once(begin).map_ok(move |joined| batches(storage, joined, options)).try_flatten().boxed()
}

fn batches(
    storage: &AwsStorage,
    joined: Joined,
    options: ScanOptions,
) -> BoxStream<'_, Result<Vec<RatingRow>>> {
    stream::try_unfold(joined, move |mut joined| async move {
        loop {
            let (batch, rest) = offload(true, move || {
                let batch = joined.batch(options);
                (batch, joined)
            })
            .await?;
            joined = rest;
            let mut batch = batch?;
            if batch.is_empty() {
                return Ok(None);
            }
            leave_erased_out(storage, &mut batch).await?;
            if !batch.is_empty() {
                return Ok(Some((batch, joined)));
            }
        }
    })
    .boxed()
}

/// Takes out whom an erasure bars: it may have come after the begin of the scan.
async fn leave_erased_out(storage: &AwsStorage, batch: &mut Vec<RatingRow>) -> Result<()> {
    let tombstones = storage.snapshot(None).await?.state.tombstones;
    let key = &storage.shared.context.erasure_key;
    batch.retain(|row| !is_barred(&tombstones, key, &row.rating));
    Ok(())
}

/// One bucket's rows, batch by batch.
struct Source {
    file: RatingDecoder,
    rows: vec::IntoIter<RatingRow>,
}

impl Source {
    fn next(&mut self) -> Result<Option<RatingRow>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            match self.file.next().transpose()? {
                Some(rows) => self.rows = rows.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// The next row of a bucket, ordered by user and item.
struct Next {
    row: RatingRow,
    source: usize,
}

impl Next {
    fn key(&self) -> (&str, &str) {
        (self.row.rating.user().as_str(), self.row.rating.item().as_str())
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Buckets joined by (user, item). Memory: the compressed files, and one batch of each.
struct Joined {
    sources: Vec<Source>,
    next: BinaryHeap<Reverse<Next>>,
}

impl Joined {
    fn new(files: Vec<RatingDecoder>) -> Result<Joined> {
        let sources: Vec<Source> =
            files.into_iter().map(|file| Source { file, rows: Vec::new().into_iter() }).collect();
        let mut joined = Joined { sources, next: BinaryHeap::new() };
        for source in 0..joined.sources.len() {
            joined.advance(source)?;
        }
        Ok(joined)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        if let Some(row) = self.sources[source].next()? {
            self.next.push(Reverse(Next { row, source }));
        }
        Ok(())
    }

    /// The next rows that the options ask for; none at the end.
    fn batch(&mut self, options: ScanOptions) -> Result<Vec<RatingRow>> {
        let mut batch = Vec::new();
        while batch.len() < options.batch_rows.max(1) {
            let Some(Reverse(Next { row, source })) = self.next.pop() else { break };
            self.advance(source)?;
            let shown = options.withdrawn || !row.rating.is_withdrawn();
            if shown
                && options.time.contains(row.rating.rated_at())
                && options.shard.contains(row.rating.user().as_str())
            {
                batch.push(row);
            }
        }
        Ok(batch)
    }
}
