//! What a namespace still needs: everything that the head, and the generations that are kept, name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use object_store::ObjectMeta;
use recstore_core::{EntityKind, Error, ErrorKind, Namespace, Result, Timestamp};

use super::manifest::Manifest;
use crate::config::SilverRetention;
use crate::lake::commit::{CommitDocument, TableFiles};
use crate::lake::documents::read_document;
use crate::lake::gold::catalogue::{Catalogue, Content};
use crate::lake::head::{Heads, Snapshot};
use crate::lake::keys::{run_name, state_folder};
use crate::lake::silver::keys::{SilverTable, TableKey};
use crate::lake::store::LakeStore;

/// An object of a listing.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// When it was stored, in milliseconds since 1970, by the object store's clock.
    pub(super) stored_at: i64,
}

/// The objects of a folder and below, in the order of their names.
///
/// # Errors
/// Those of the object store.
pub(super) async fn listed(store: &LakeStore, folder: &str) -> Result<Vec<Listed>> {
    let objects = store.list(folder, None, None).await?;
    let of = |object: &ObjectMeta| {
        let name = store.name(object)?.to_owned();
        Some(Listed { name, bytes: object.size, stored_at: object.last_modified.timestamp_millis() })
    };
    Ok(objects.iter().filter_map(of).collect())
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Retained {
    /// What is committed.
    pub(super) snapshot: Snapshot,
    /// The oldest generation that is kept.
    pub(super) oldest: u64,
    /// What it consists of.
    pub(super) oldest_commit: Arc<CommitDocument>,
    /// Every object that the head, or a generation that is kept, names.
    pub(super) names: BTreeSet<String>,
    /// The documents of the state folder, listed after the head was read.
    pub(super) documents: Vec<Listed>,
}

impl Retained {
    /// Looks up what is kept at this time.
    ///
    /// # Errors
    /// `Corrupt` if the manifest of a committed generation is gone; `SchemaVersion`; those of the object store.
    pub(super) async fn read(heads: &Heads, silver: &SilverRetention, now: Timestamp) -> Result<Retained> {
        let (store, namespace) = (heads.store(), heads.namespace());
        let snapshot = heads.read(None).await?;
        let documents = listed(store, &state_folder(namespace)).await?;
        let newest = snapshot.state.generation;
        let mut names: BTreeSet<String> =
            snapshot.head.documents().map(|document| document.name.clone()).collect();
        names_of_commit(&snapshot.state.commit, &mut names);
        names_of_releases(&snapshot.state.releases, &mut names);
        let (mut oldest, mut oldest_commit) = (newest, snapshot.state.commit.clone());
        if newest > 0 {
            let mut next = manifest(store, namespace, newest).await?;
            names.insert(next.commit.name.clone());
            while oldest > 1 {
                // It was what readers got until about the time when the next one was claimed.
                let replaced_for = now.as_millis().saturating_sub(next.created_at.as_millis());
                let among_last = newest - (oldest - 1) < silver.generations;
                if !among_last && u128::try_from(replaced_for).unwrap_or(0) >= silver.age.as_millis() {
                    break;
                }
                let before = manifest(store, namespace, oldest - 1).await?;
                // Fewer were kept at some time before.
                if documents.binary_search_by(|listed| listed.name.cmp(&before.commit.name)).is_err() {
                    break;
                }
                oldest -= 1;
                oldest_commit = Arc::new(read_document(store, &before.commit, None).await?);
                names_of_commit(&oldest_commit, &mut names);
                names.insert(before.commit.name.clone());
                next = before;
            }
        }
        Ok(Retained { snapshot, oldest, oldest_commit, names, documents })
    }

    /// The committed generation.
    pub(super) fn newest(&self) -> u64 {
        self.snapshot.state.generation
    }
}

/// The manifest of a committed generation. Manifests stay for ever: they are the claims.
async fn manifest(store: &LakeStore, namespace: &Namespace, generation: u64) -> Result<Manifest> {
    Manifest::read(store, namespace, generation).await?.ok_or_else(|| {
        let text = "the manifest of a committed generation is gone";
        Error::new(ErrorKind::Corrupt, text).on(run_name(namespace, generation))
    })
}

/// Every table of a generation.
pub(super) fn tables<'c>(
    commit: &'c CommitDocument,
    namespace: &Namespace,
) -> HashMap<TableKey, &'c TableFiles> {
    let built_in = [EntityKind::User, EntityKind::Item].into_iter().flat_map(|kind| {
        let ratings = match kind {
            EntityKind::User => SilverTable::Ratings,
            EntityKind::Item => SilverTable::RatingsByItem,
        };
        [(ratings, commit.rating_table(kind)), (SilverTable::features_of(kind), commit.feature_table(kind))]
    });
    let custom = commit.custom.iter().map(|(group, files)| (SilverTable::Custom(group.clone()), files));
    let key = |table| TableKey { namespace: namespace.clone(), table };
    built_in.chain(custom).map(|(table, files)| (key(table), files)).collect()
}

fn names_of_commit(commit: &CommitDocument, names: &mut BTreeSet<String>) {
    let tables = [&commit.ratings, &commit.ratings_by_item, &commit.user_features, &commit.item_features];
    let files = tables.into_iter().chain(commit.custom.values()).flat_map(|table| table.buckets.values());
    names.extend(files.map(|file| file.object.name.clone()));
}

fn names_of_releases(releases: &Catalogue, names: &mut BTreeSet<String>) {
    for release in releases.releases.values() {
        match &release.content {
            Content::Building { parts } => names.extend(parts.iter().map(|part| part.name.clone())),
            Content::Sealed(sealed) => {
                names.extend([sealed.lists.name.clone(), sealed.popular.name.clone()]);
            }
        }
    }
    names.extend(releases.retired.iter().map(|publication| publication.lists.name.clone()));
}

/// For each folder, its objects.
pub(super) fn by_folder(objects: &[Listed]) -> BTreeMap<&str, Vec<&Listed>> {
    let mut folders: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
    for object in objects {
        let folder = object.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        folders.entry(folder).or_default().push(object);
    }
    folders
}
