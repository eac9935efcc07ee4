//! The log by which other tools read a table: one Delta commit for each generation that changed it.
//!
//! The log tells what the commit document of the generation tells; readers of this crate never look at it. Its bytes
//! are a function of the generation's manifest, so that whoever writes an entry writes the same. Tables ask for the
//! lowest versions of the protocol, which every engine has.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitData;
use deltalake::kernel::{Action, Add, CommitInfo, Metadata, Protocol, Remove, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use recstore_core::{Error, ErrorKind, Result, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::lake::silver::file::DataFile;
use crate::lake::silver::keys::{LogKey, TableKey};

/// The partition column; files do not have it, their folder's name says it.
pub const BUCKET: &str = "bucket";
/// The application whose generations the tables' transactions count.
pub const APP_ID: &str = "recstore";
const ENGINE: &str = "recstore";
const MIN_READER_VERSION: u32 = 1;
const MIN_WRITER_VERSION: u32 = 2;
const TABLE_ID_CONTEXT: &str = "recstore 2026 delta table id v1";

/// What a generation did to a table.
#[derive(Debug, Clone)]
pub struct DeltaCommit<'a> {
    /// The table.
    pub table: &'a TableKey,
    /// The version that the commit makes: 0 creates the table, then one more each time.
    pub version: u64,
    /// The generation.
    pub generation: u64,
    /// When it was claimed, by its manifest.
    pub time: Timestamp,
    /// The columns of the files; must be given for version 0, and when columns were added.
    pub columns: Option<SchemaRef>,
    /// Files that are part of the table from now on.
    pub added: &'a [DataFile],
    /// Files that are not any more.
    pub removed: &'a [DataFile],
}

impl DeltaCommit<'_> {
    /// The name of the entry within the lake.
    pub fn name(&self) -> String {
        LogKey { table: self.table.clone(), version: self.version }.to_string()
    }

    /// The bytes of the entry; the order in which files are given does not matter.
    ///
    /// # Errors
    /// `Internal` if the first version comes without columns, a file is not of the table, or a number is beyond what
    /// Delta counts.
    pub fn bytes(&self) -> Result<Bytes> {
        let mut actions = vec![Action::CommitInfo(self.info())];
        if self.version == 0 {
            actions.push(Action::Protocol(protocol()?));
        }
        match &self.columns {
            Some(columns) => actions.push(Action::Metadata(self.metadata(columns)?)),
            None if self.version == 0 => return Err(defect("a table's first version has no columns")),
            None => {}
        }
        actions.push(Action::Txn(Transaction {
            app_id: APP_ID.to_owned(),
            version: integer(self.generation)?,
            last_updated: Some(self.time.as_millis()),
        }));
        for file in sorted(self.removed) {
            actions.push(Action::Remove(self.remove(file)?));
        }
        for file in sorted(self.added) {
            actions.push(Action::Add(self.add(file)?));
        }
        // Describes the commit to a writer that has no `CommitInfo` of its own; ours is complete.
        let operation =
            DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: None, predicate: None };
        CommitData::new(actions, operation, HashMap::new(), Vec::new())
            .get_bytes()
            .map_err(|cause| defect("a log entry cannot be written").because(cause))
    }

    fn info(&self) -> CommitInfo {
        CommitInfo {
            timestamp: Some(self.time.as_millis()),
            operation: Some(if self.version == 0 { "CREATE TABLE" } else { "WRITE" }.to_owned()),
            operation_parameters: Some(HashMap::new()),
            is_blind_append: Some(false),
            engine_info: Some(ENGINE.to_owned()),
            ..CommitInfo::default()
        }
    }

    fn metadata(&self, columns: &SchemaRef) -> Result<Metadata> {
        let fields = columns.fields().iter().cloned();
        let bucket = Arc::new(Field::new(BUCKET, DataType::Int32, false));
        let schema = Schema::new(fields.chain([bucket]).collect::<Vec<_>>());
        let unwritable = "the columns cannot be described";
        let schema: StructType =
            (&schema).try_into_kernel().map_err(|cause| defect(unwritable).because(cause))?;
        let schema = serde_json::to_string(&schema).map_err(|cause| defect(unwritable).because(cause))?;
        action(json!({
            "id": table_id(self.table),
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema,
            "partitionColumns": [BUCKET],
            "configuration": {},
        }))
    }

    fn add(&self, file: &DataFile) -> Result<Add> {
        Ok(Add {
            path: self.path(file)?,
            partition_values: partition(file),
            size: integer(file.bytes)?,
            modification_time: self.time.as_millis(),
            data_change: true,
            stats: Some(json!({ "numRecords": file.rows }).to_string()),
            ..Add::default()
        })
    }

    fn remove(&self, file: &DataFile) -> Result<Remove> {
        Ok(Remove {
            path: self.path(file)?,
            data_change: true,
            deletion_timestamp: Some(self.time.as_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some(partition(file)),
            size: Some(integer(file.bytes)?),
            ..Remove::default()
        })
    }

    /// The name of the file within the table.
    fn path(&self, file: &DataFile) -> Result<String> {
        let path = self.table.strip(&file.name).map(str::to_owned);
        path.ok_or_else(|| defect("the file is not of the table").on(file.name.clone()))
    }
}

fn protocol() -> Result<Protocol> {
    action(json!({ "minReaderVersion": MIN_READER_VERSION, "minWriterVersion": MIN_WRITER_VERSION }))
}

/// An action that the library makes by reading it only.
fn action<T: DeserializeOwned>(form: Value) -> Result<T> {
    serde_json::from_value(form).map_err(|cause| defect("a log entry cannot be written").because(cause))
}

fn partition(file: &DataFile) -> HashMap<String, Option<String>> {
    HashMap::from([(BUCKET.to_owned(), Some(file.bucket.to_string()))])
}

fn sorted(files: &[DataFile]) -> Vec<&DataFile> {
    let mut files: Vec<&DataFile> = files.iter().collect();
    files.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    files
}

/// The table's identity: a UUID made of its folder, version 8, which is for such.
fn table_id(table: &TableKey) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(TABLE_ID_CONTEXT);
    hasher.update(table.to_string().as_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn integer(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| defect("a number is beyond what a log entry counts"))
}

fn defect(message: &str) -> Error {
    Error::new(ErrorKind::Internal, message)
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
