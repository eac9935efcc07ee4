//! Import: rows of a file or pipe into the store, in bounded memory, with every bad row accounted for.
//!
//! Data flows one way: `lines` → `csv` or `jsonl` (rows) → `row` (checked events) → `reader` (batches, on a
//! thread of its own) → `job` (a few batches in flight to the store; bad rows to the `report`).

mod csv;
mod job;
mod jsonl;
mod lines;
mod reader;
mod report;
mod row;
mod time;

pub use csv::ColumnNames;
pub use job::{Import, Imported, OnError, Summary};
pub use lines::MAX_LINE_BYTES;
pub use reader::{Ended, Format, Input, Options, RowReader};
pub use row::Rejection;
pub use time::TimeUnit;
