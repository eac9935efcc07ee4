//! The lake in S3.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`keys`] | the keys of all objects |
//! | [`store`] | requests to the bucket: create once, read, list |
//! | [`calendar`] | days and times in keys and lines |
//! | [`bronze`] | events as they came: lines, objects, the writer and the reader |

pub mod bronze;
pub mod calendar;
pub mod keys;
mod offload;
pub mod store;
