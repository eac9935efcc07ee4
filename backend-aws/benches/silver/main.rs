//! The pipeline's computing, from events of bronze to the files of silver, beside DuckDB doing the same from Parquet.
//!
//! ```sh
//! PYTHON=peers/bin/python cargo bench -p recstore-aws --bench silver
//! ```
//!
//! Each part is a process of its own, so that its peak memory is its own. `RECSTORE_BENCH_EVENTS` sets the number of
//! events, `RECSTORE_BENCH_FOLDER` where the data is kept (a temporary folder else, which is removed), and
//! `RECSTORE_BENCH_ROUNDS` how often both run, in turns. Without `PYTHON`, which must have what
//! `benches/peers/requirements.txt` lists, there is no peer. Ends with an error if Recstore takes more than 1 GiB of memory.

mod events;
mod folder;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use recstore_aws::config::{PipelineConfig, RetryConfig};
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::pipeline::{Phases, first_generation};
use recstore_aws::retry::RetryPolicy;
use recstore_core::{Namespace, StoreContext};
use serde_json::{Value, json};

use folder::FolderStore;

/// The most memory that computing may take.
const MOST_MIB: f64 = 1024.0;

/// What fails a measurement.
type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["make", folder, events] => on_runtime(events::make(lake(folder)?, namespace()?, events.parse()?)),
        ["compute", folder] => on_runtime(compute(folder)),
        _ => everything(),
    }
}

fn on_runtime(work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn namespace() -> Result<Namespace, Fault> {
    Ok("bench".parse()?)
}

fn lake(folder: &str) -> Result<LakeStore, Fault> {
    let store = Arc::new(FolderStore::new(Path::new(folder))?);
    let retry = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(60), 7);
    Ok(LakeStore::new(store, LakePrefix::default(), Arc::new(retry)))
}

/// Computes the first generation; prints what it took.
async fn compute(folder: &str) -> Result<(), Fault> {
    let begun = Instant::now();
    let (report, phases) =
        first_generation(lake(folder)?, namespace()?, &PipelineConfig::default(), &StoreContext::default())
            .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let Phases { route, users, items } = phases;
    let phases = [("route", route), ("users", users), ("items", items)]
        .map(|(name, taken)| (name.to_owned(), json!(taken.as_secs_f64())));
    let phases: serde_json::Map<String, Value> = phases.into_iter().collect();
    println!(
        "{}",
        json!({ "seconds": seconds, "cpu_seconds": cpu_seconds()?, "peak_mib": peak_mib()?, "phases": phases, "report": report })
    );
    Ok(())
}

/// How long processors worked for this process, in seconds: less noisy than the time that passed.
fn cpu_seconds() -> Result<f64, Fault> {
    // Fields 14 and 15, in hundredths; the name before them may have spaces.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no times are known")?;
    let hundredths = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(hundredths.sum::<Result<u64, _>>()? as f64 / 100.0)
}

/// The most memory that this process ever had.
fn peak_mib() -> Result<f64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak is known")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn everything() -> Result<(), Fault> {
    let temporary;
    let folder = match std::env::var_os("RECSTORE_BENCH_FOLDER") {
        Some(folder) => PathBuf::from(folder),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path().to_owned()
        }
    };
    let number =
        |name: &str, default: u64| std::env::var(name).map_or(Ok(default), |text| text.parse::<u64>());
    let events = number("RECSTORE_BENCH_EVENTS", 2_000_000)?;
    let rounds = number("RECSTORE_BENCH_ROUNDS", 2)?;
    let (lake, peer) = (folder.join("lake"), std::env::var_os("PYTHON"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/silver.py");
    let own = |command: &str| {
        let mut process = Command::new(std::env::current_exe()?);
        process.arg(command).arg(&lake);
        Ok::<_, Fault>(process)
    };
    let of_peer = |mode: &str| {
        let mut process = Command::new(peer.as_deref().unwrap_or_default());
        process.arg(&script).arg(mode).arg(&folder);
        process
    };
    let complete = folder.join("complete");
    if !complete.exists() {
        if !own("make")?.arg(events.to_string()).status()?.success() {
            return Err("no events were made".into());
        }
        if peer.is_some() {
            answer(of_peer("load"))?;
        }
        std::fs::write(&complete, "")?;
    }
    for round in 1..=rounds {
        let silver = lake.join("silver");
        if silver.exists() {
            std::fs::remove_dir_all(silver)?;
        }
        let ours = answer(own("compute")?)?;
        println!("round {round}, recstore: {}", figures(&ours)?);
        let peak = figure(&ours, "peak_mib")?;
        if peak > MOST_MIB {
            return Err(format!("the peak of {peak:.0} MiB is above {MOST_MIB} MiB").into());
        }
        if peer.is_none() {
            continue;
        }
        for mode in ["limited", "unlimited"] {
            let peer = answer(of_peer(mode))?;
            let ratio = |of: &str| Ok::<_, Fault>(figure(&peer, of)? / figure(&ours, of)?);
            println!(
                "round {round}, DuckDB, {mode}: {}; takes {:.2} times as long, {:.2} times the processors",
                figures(&peer)?,
                ratio("seconds")?,
                ratio("cpu_seconds")?
            );
        }
    }
    Ok(())
}

fn figure(answer: &Value, name: &str) -> Result<f64, Fault> {
    Ok(answer[name].as_f64().ok_or("an answer lacks a figure")?)
}

fn figures(answer: &Value) -> Result<String, Fault> {
    let figure = |name| figure(answer, name);
    let (seconds, cpu, peak) = (figure("seconds")?, figure("cpu_seconds")?, figure("peak_mib")?);
    let phases = answer["phases"].as_object().into_iter().flatten();
    let phase =
        |(name, taken): (&String, &Value)| format!("{name} {:.1}", taken.as_f64().unwrap_or(f64::NAN));
    let phases: Vec<String> = phases.map(phase).collect();
    Ok(format!("{seconds:.1} s, {cpu:.1} s of processors, {peak:.0} MiB ({})", phases.join(", ")))
}

/// The answer of a process, which is its last line.
fn answer(mut process: Command) -> Result<Value, Fault> {
    let output = process.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{process:?} failed").into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}
