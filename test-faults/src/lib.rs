//! Power cuts, full and broken disks under SQLite, for the tests of this workspace. Never published, and the
//! only crate with `unsafe`: SQLite reaches its files through a table of C functions (a VFS).
//!
//! [`Disk::watch`] puts itself between SQLite and the files of one folder. Every call goes through to the
//! real file and is recorded in a [`Log`]; on order it fails instead. Files of other folders are left alone,
//! so tests run side by side in one process.
//!
//! A backend uses the harnesses by implementing [`Backend`]: how a store is opened in a folder, and what is wrong
//! with its files by other means than its own code. With that, [`PowerCuts`] records random workloads, cuts them and
//! holds what is left against the memory oracle; [`Kills`] runs a test once more as a process, kills it and sends
//! again what was not acknowledged. [`inspect`] alone is for images that a test makes of a record of its own. Which
//! settings to weaken and which kinds of error to expect stays with the backend's tests.
//!
//! | file | what it is responsible for |
//! | --- | --- |
//! | `backend` | [`Backend`]: what a backend gives |
//! | `power` | [`PowerCuts`]: recordings, their images, and what was done to them |
//! | `kill` | [`Kills`]: processes that are killed while they write |
//! | `vfs` | the C side: a VFS that asks a disk before it passes a call on |
//! | `disk` | [`Disk`]: what is watched, counted, and ordered to fail |
//! | `log` | [`Log`]: what was written and synced |
//! | `image` | [`Replay`]: what a power cut leaves of it |
//! | `steps` | [`Steps`]: the work of statements by SQLite's own counters |
//! | `workload` | [`Workload`]: calls of a store with the content that each must leave behind |
//! | `child` | [`Process`]: a test in a process of its own, which can be killed |
//! | `random` | [`Random`]: numbers from a seed, counts and seeds from the environment |
//!
//! What a simulated power cut does not model: a disk that lies about syncs (unless told to), damage to bytes
//! that were synced, and files whose creation is lost.

mod backend;
mod child;
mod disk;
mod image;
mod kill;
mod log;
mod power;
mod random;
mod steps;
mod vfs;
mod workload;

pub use backend::Backend;
pub use child::Process;
pub use disk::{Disk, Failure, Fault, Figures, Synchronous, Target};
pub use image::{Image, Replay, Trust};
pub use kill::{Client, Ending, Kills, Repetition};
pub use log::{Cut, Log};
pub use power::{Harm, PowerCuts, Recording, Survey, inspect};
pub use random::{Random, from_env};
pub use steps::Steps;
pub use workload::{Step, Workload, context, memory_folder};
