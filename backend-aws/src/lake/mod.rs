//! The lake in S3.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`keys`] | the keys of all objects |
//! | [`store`] | requests to the bucket: create once, read, list |
//! | [`calendar`] | days and times in keys and lines |
//! | [`bronze`] | events as they came: lines, objects, the writer and the reader |
//! | [`silver`] | the stored form of the tables: Parquet files, a Delta log for other tools |
//! | [`gold`] | similarity releases and the catalogue of them |
//! | [`head`] | what is committed of a namespace: the one object that is changed by compare-and-swap |
//! | [`commit`], [`documents`] | what the head names |

pub mod bronze;
pub mod calendar;
pub mod commit;
pub mod documents;
pub mod gold;
pub mod head;
pub mod keys;
pub(crate) mod offload;
pub mod silver;
pub mod store;
