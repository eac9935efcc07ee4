//! The objects of a release: stored under their content, read back checked.

use std::collections::BTreeMap;

use bytes::Bytes;
use recstore_core::{
    EntityKey, EntityKind, Error, ErrorKind, Namespace, Neighbour, NeighbourList, Popular, ReleaseId, Result,
};
use tokio::time::Instant;

use super::erased::Erased;
use super::lists::{Counts, ListsReader, encode};
use crate::lake::documents::{ContentDigest, DocumentRef, read_document, read_object};
use crate::lake::keys::release_folder;
use crate::lake::offload::offload;
use crate::lake::store::LakeStore;

const PARQUET: &str = "application/vnd.apache.parquet";
const LEVEL: i32 = 3;
/// From here on work on a file is worth a thread.
const LARGE_BYTES: u64 = 64 << 10;
/// From here on lists make a large file.
const LARGE_NEIGHBOURS: usize = 5_000;

/// Lists by id.
pub(crate) type Lists = BTreeMap<EntityKey, Vec<Neighbour>>;

/// Where the objects of one release lie.
#[derive(Debug, Clone)]
pub(crate) struct ReleaseObjects {
    store: LakeStore,
    folder: String,
}

impl ReleaseObjects {
    pub(crate) fn new(
        store: &LakeStore,
        namespace: &Namespace,
        kind: EntityKind,
        id: &ReleaseId,
    ) -> ReleaseObjects {
        ReleaseObjects { store: store.clone(), folder: release_folder(namespace, kind, id) }
    }

    /// Stores lists that were put.
    ///
    /// # Errors
    /// Those of the object store; `OutcomeUnknown`, after which the same call finds out.
    pub(crate) async fn store_part(&self, lists: Lists) -> Result<DocumentRef> {
        let (file, _) = encode_all(lists).await?;
        self.store("part", ".parquet", PARQUET, &file).await
    }

    /// Stores all lists of a revision.
    ///
    /// # Errors
    /// As [`store_part`](Self::store_part).
    pub(crate) async fn store_lists(&self, revision: u32, file: &Bytes) -> Result<DocumentRef> {
        self.store(&format!("lists-r{revision}"), ".parquet", PARQUET, file).await
    }

    /// Stores the popularity list of a revision.
    ///
    /// # Errors
    /// As [`store_part`](Self::store_part).
    pub(crate) async fn store_popular(&self, revision: u32, popular: &[Popular]) -> Result<DocumentRef> {
        let failed = |cause: String| {
            let text = format!("a popularity list cannot be written: {cause}");
            Error::new(ErrorKind::Internal, text).on(self.folder.clone())
        };
        let json = serde_json::to_vec(popular).map_err(|cause| failed(cause.to_string()))?;
        let body = zstd::bulk::compress(&json, LEVEL).map_err(|cause| failed(cause.to_string()))?;
        let stem = format!("popular-r{revision}");
        self.store(&stem, ".json.zst", "application/zstd", &Bytes::from(body)).await
    }

    async fn store(
        &self,
        stem: &str,
        suffix: &str,
        content_type: &'static str,
        body: &Bytes,
    ) -> Result<DocumentRef> {
        let digest = ContentDigest::of(body);
        let name = format!("{}/{stem}-{digest}{suffix}", self.folder);
        self.store.store_content(&name, body, content_type).await?;
        Ok(DocumentRef { name, bytes: body.len() as u64, digest })
    }
}

/// The file of these lists, and how much it holds.
///
/// # Errors
/// `Internal`.
pub(crate) async fn encode_all(lists: Lists) -> Result<(Bytes, Counts)> {
    let large = lists.values().map(|neighbours| neighbours.len() + 1).sum::<usize>() >= LARGE_NEIGHBOURS;
    offload(large, move || encode(lists.iter().map(|(id, neighbours)| (id, neighbours.as_slice())))).await?
}

/// Reads a file of lists, one by one.
///
/// # Errors
/// `Corrupt`, which names the object; `SchemaVersion`; those of the object store.
pub(crate) async fn read_lists(
    store: &LakeStore,
    file: &DocumentRef,
    deadline: Option<Instant>,
) -> Result<ListsReader> {
    ListsReader::new(read_object(store, file, deadline).await?, &file.name)
}

/// Reads a popularity list.
///
/// # Errors
/// As [`read_lists`].
pub(crate) async fn read_popular(
    store: &LakeStore,
    popular: &DocumentRef,
    deadline: Option<Instant>,
) -> Result<Vec<Popular>> {
    read_document(store, popular, deadline).await
}

/// All lists of a file through `take`, on a thread if there are many.
///
/// # Errors
/// As [`read_lists`]; what `take` fails with.
pub(crate) async fn fold_lists<T: Send + 'static>(
    store: &LakeStore,
    file: &DocumentRef,
    deadline: Option<Instant>,
    mut state: T,
    take: impl Fn(&mut T, NeighbourList) -> Result<()> + Send + 'static,
) -> Result<T> {
    let lists = read_lists(store, file, deadline).await?;
    offload(file.bytes >= LARGE_BYTES, move || {
        for list in lists {
            take(&mut state, list?)?;
        }
        Ok(state)
    })
    .await?
}

/// What parts come to: the last list of an id is the one that counts, and nobody erased is in it.
///
/// Memory: all lists of the release, and one part.
///
/// # Errors
/// As [`read_lists`].
pub(crate) async fn merge(
    store: &LakeStore,
    parts: &[DocumentRef],
    erased: &Erased,
    deadline: Option<Instant>,
) -> Result<Lists> {
    let mut merged = Lists::new();
    for part in parts {
        let erased = erased.clone();
        let take = move |merged: &mut Lists, list| {
            if let Some(list) = erased.filter(list) {
                merged.insert(list.id, list.neighbours);
            }
            Ok(())
        };
        merged = fold_lists(store, part, deadline, merged, take).await?;
    }
    Ok(merged)
}

/// How much lists hold.
pub(crate) fn count(lists: &Lists) -> Counts {
    let mut counts = Counts::default();
    lists.values().for_each(|neighbours| counts.add(neighbours.len()));
    counts
}
