//! The bronze layer on an object store that fails: scenarios, random schedules, and bugs that these catch.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | `faulty` | the object store, its faults by chance or by script |
//! | `support` | parts that all tests use |
//! | `writing` | what a writer promises, one sentence at a time |
//! | `reading` | what a reader promises |
//! | `schedules` | random schedules of callers, crashes and faults, and what must hold after each |
//! | `http` | the same over real HTTP, faults by a proxy |
//! | `naive` | a small writer of its own that can be given a bug |
//! | `bites` | every bug is caught by a schedule |
//! | `speed` | measurements, ignored unless asked for |

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "bronze/bites.rs"]
mod bites;
#[path = "bronze/faulty.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod faulty;
#[path = "bronze/http.rs"]
mod http;
#[path = "bronze/naive.rs"]
mod naive;
#[path = "bronze/reading.rs"]
mod reading;
#[path = "bronze/schedules.rs"]
mod schedules;
#[path = "bronze/speed.rs"]
mod speed;
#[path = "bronze/support.rs"]
mod support;
#[path = "bronze/writing.rs"]
mod writing;
