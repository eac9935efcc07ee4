//! The pipeline: events to silver and to the tables, whatever happens on the way.
//!
//! Time stands still but for waits, and every schedule comes again from its seed: `RECSTORE_SEED` is where they
//! begin, `RECSTORE_PIPELINE_SCHEDULES` how many there are of each sort.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | `fake`, `faulty` | the two services, and how they fail |
//! | `support`, `stage` | processes on them; `stage`: that stop at any request, or have a bug |
//! | `story` | what happens in a namespace, told to the lake and to memory |
//! | `vacuum`, `gate` | what is deleted, while others sleep |
//! | `parity` | the same events in memory and in the lake |
//! | `crashes`, `zombies` | a process that stops at any request, for ever or for some generations |
//! | `concurrent` | several runs, writers and readers at once |
//! | `weather` | both services fail often |
//! | `lost_tables` | what readers are told when the tables are gone |
//! | `until` | runs that take in what had arrived by a time |
//! | `costs` | what is counted of requests, bytes and units |
//! | `explain` | what explanations and the quarantine name |
//! | `guard` | runs that would publish that too much fell away |
//! | `damage` | every object cut, flipped, deleted, swapped |
//! | `bites` | each seeded bug is caught |
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "pipeline/bites.rs"]
mod bites;
#[path = "pipeline/concurrent.rs"]
mod concurrent;
#[path = "pipeline/costs.rs"]
mod costs;
#[path = "pipeline/crashes.rs"]
mod crashes;
#[path = "pipeline/damage.rs"]
mod damage;
#[path = "pipeline/explain.rs"]
mod explain;
#[path = "online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "bronze/faulty.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod faulty;
#[path = "pipeline/gate.rs"]
mod gate;
#[path = "pipeline/guard.rs"]
mod guard;
#[path = "pipeline/lost_tables.rs"]
mod lost_tables;
#[path = "pipeline/parity.rs"]
mod parity;
#[path = "pipeline/stage.rs"]
mod stage;
#[path = "pipeline/story.rs"]
mod story;
#[path = "pipeline/support.rs"]
mod support;
#[path = "pipeline/until.rs"]
mod until;
#[path = "pipeline/vacuum.rs"]
mod vacuum;
#[path = "pipeline/weather.rs"]
mod weather;
#[path = "pipeline/zombies.rs"]
mod zombies;
