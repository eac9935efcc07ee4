//! The pipeline: takes new events into the silver tables, publishes what changed, commits a generation.
//!
//! ```text
//! bronze ──▶ route by bucket ──▶ merge users' buckets ──▶ merge items' buckets ──▶ claim ──▶ publish ──▶ commit
//!            (bad lines: quarantine)   ratings, features       the same, by item      manifest   DynamoDB    head
//! ```
//!
//! Everything up to the claim only adds immutable files that nothing names. The claim is a manifest created once for
//! each generation; it names the commit document and with it every file. What follows is a function of the manifest,
//! so that any runner can finish what another began, and two at once do the same. The one commit point is the
//! head's compare-and-swap.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`manifest`] | what a generation is made of, claimed once |
//! | `route` | events and deletions to buckets, in bounded memory |
//! | `entry` | what is to be done to a pair, as it is kept between reading and merging |
//! | `ids` | ids as numbers |
//! | `merge` | rows of a bucket after new events, and the statistics of them; no I/O |
//! | `tables` | buckets of silver tables: loaded, stored |
//! | `compute` | from a committed generation and new events to the files of the next one |
//! | `publish` | what differs between two generations, to DynamoDB and to the tables' logs |
//! | `statistics` | the statistics of a bucket, that nothing can stop but damaged ratings |
//! | `retained` | what a namespace still needs |
//! | [`compact`] | checkpoints of the tables' logs for other tools |
//! | [`vacuum`] | deleting what nothing names any more |
//! | `rebuild_online` | lost tables, filled from silver and bronze |
//! | [`run`] | a run: plan, compute, guard, claim, finish |
//! | [`status`] | where it stands; only reads |
//! | [`quarantine`] | the lines that were no events; only reads |
//! | [`explain`] | where what is said of an entity comes from; only reads |

pub mod compact;
pub(crate) mod compute;
pub(crate) mod custom;
mod entry;
pub mod explain;
mod ids;
pub mod manifest;
pub(crate) mod merge;
pub(crate) mod publish;
pub mod quarantine;
mod rebuild_online;
mod retained;
pub(crate) mod route;
pub mod run;
pub(crate) mod statistics;
pub mod status;
pub(crate) mod tables;
pub mod vacuum;

pub use compact::CompactReport;
pub use compute::ComputeReport;
#[doc(hidden)]
pub use compute::{Phases, first_generation};
pub use explain::{ExplainOptions, Explanation};
pub use publish::PublishReport;
pub use quarantine::{QuarantineOptions, QuarantineReport, RefusedLine};
pub use run::{GuardOptions, RunOptions, RunOutcome, RunReport};
pub use status::PipelineStatus;
pub use vacuum::{Layer, Reason, VacuumOptions, VacuumReport, VacuumedObjects};
