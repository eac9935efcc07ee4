//! An object store on a folder that keeps the metadata of objects too, beside them.

use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Objects in one folder, their metadata as JSON under the same names in another.
#[derive(Debug)]
pub(crate) struct FolderStore {
    objects: LocalFileSystem,
    metadata: LocalFileSystem,
}

impl FolderStore {
    /// The store in `folder`, which is made.
    pub(crate) fn new(folder: &FilePath) -> std::io::Result<FolderStore> {
        let part = |part: &FilePath| {
            std::fs::create_dir_all(part)?;
            LocalFileSystem::new_with_prefix(part).map_err(std::io::Error::other)
        };
        let metadata = folder.with_extension("metadata");
        Ok(FolderStore { objects: part(folder)?, metadata: part(&metadata)? })
    }
}

impl fmt::Display for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

fn to_json(attributes: &Attributes) -> PutPayload {
    let stated = attributes.iter().filter_map(|(name, value)| match name {
        Attribute::Metadata(name) => Some((name.to_string(), value.to_string())),
        _ => None,
    });
    let stated: std::collections::BTreeMap<String, String> = stated.collect();
    serde_json::json!(stated).to_string().into()
}

fn from_json(json: &[u8]) -> Attributes {
    let stated: std::collections::BTreeMap<String, String> = serde_json::from_slice(json).unwrap_or_default();
    stated.into_iter().map(|(name, value)| (Attribute::Metadata(name.into()), value)).collect()
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.metadata.put(location, to_json(&options.attributes)).await?;
        let options = PutOptions { attributes: Attributes::new(), ..options };
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.objects.get_opts(location, options).await?;
        let stated = self.metadata.get(location).await?.bytes().await?;
        Ok(GetResult { attributes: from_json(&stated), ..found })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
