//! Bronze: the events as they came, immutable, in objects of JSON lines.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`mod@line`] | one rating event as one line of JSON, and back |
//! | [`feature_line`] | the same for a row of a custom group |
//! | [`object`] | lines as one compressed object that shows any damage |
//! | [`epoch`] | claiming the numbers that a writer gives to its events |
//! | [`writer`] | joining the batches of many callers into objects |
//! | [`cursor`] | how far a reader has come |
//! | [`reader`] | what is new since, as a frozen list, and the events of it |
//!
//! Within an epoch objects are contiguous: a writer has one put in flight, and goes on in a new epoch after a put that
//! did not succeed. So a reader needs one position for each epoch, and nothing acknowledged lies behind a gap.

pub mod cursor;
pub mod epoch;
pub mod feature_line;
pub mod line;
pub mod object;
pub mod reader;
pub mod writer;

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
