//! `recstore generate`: made-up ratings, the same for the same seed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use recstore::{Outcome, PutOptions, Rating};
use recstore_testkit::synthetic::{SyntheticEvent, SyntheticOptions};
use serde::Serialize;

use crate::commands::import::TAKES_EFFECT;
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Count, Page, Took, rate};
use crate::progress::Progress;
use crate::session::Session;

/// Rows that are stored in one step.
const BATCH_ROWS: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  recstore generate --output ratings.csv
  recstore generate --users 100 --items 500 --ratings 5000 --seed 1 | head
  recstore generate --ratings 1000000 --into-store --json";

/// How much to make up, and where it goes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    #[command(flatten)]
    size: Size,
    /// The file to write, or - for stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", conflicts_with = "into_store")]
    output: PathBuf,
    /// Store the ratings instead of writing them
    #[arg(long)]
    into_store: bool,
}

/// How much to make up.
#[derive(Debug, Clone, Copy, Args)]
struct Size {
    /// How many users
    #[arg(long, default_value_t = 10_000)]
    users: u64,
    /// How many items
    #[arg(long, default_value_t = 50_000)]
    items: u64,
    /// How many ratings, each of another user and item
    #[arg(long, default_value_t = 500_000)]
    ratings: u64,
    /// Another seed makes other ratings
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

impl From<Size> for SyntheticOptions {
    fn from(size: Size) -> SyntheticOptions {
        let Size { users, items, ratings, seed } = size;
        SyntheticOptions { users, items, ratings, seed }
    }
}

/// Runs the command.
///
/// # Errors
/// If the size makes no sense, or the ratings cannot be written.
pub async fn run(args: GenerateArgs, session: &Session) -> Done {
    let options = SyntheticOptions::from(args.size);
    if args.into_store {
        return into_store(options, session).await;
    }
    let events = options.events()?;
    if args.output == Path::new("-") {
        if session.output.is_json() {
            return Err(Failure::new(Exit::Usage, "--json answers on stdout, where the ratings would go")
                .hint("name a file with --output, or say --into-store"));
        }
        let stdout = io::stdout().lock();
        return write_csv(stdout, events).map_err(Failure::stdout);
    }
    let started = Instant::now();
    let file = File::create(&args.output)
        .map_err(|cause| Failure::file(Exit::CannotCreate, "create", &args.output, cause))?;
    write_csv(file, events).map_err(|cause| Failure::file(Exit::Io, "write", &args.output, cause))?;
    session.output.answer(&Generated {
        ratings: options.ratings,
        output: Some(args.output),
        applied: 0,
        accepted: 0,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Writes events as a MovieLens file.
pub(super) fn write_csv(out: impl Write, events: impl Iterator<Item = SyntheticEvent>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    out.write_all(b"userId,movieId,rating,timestamp\n")?;
    for event in events {
        writeln!(out, "{},{},{:.1},{}", event.user, event.item, event.stars(), event.seconds)?;
    }
    out.flush()
}

async fn into_store(options: SyntheticOptions, session: &Session) -> Done {
    let started = Instant::now();
    let mut events = options.ratings()?;
    let storage = session.storage_or_new().await?;
    let progress = Progress::items(&session.output, "generating", options.ratings);
    let (mut applied, mut accepted) = (0, 0);
    loop {
        let batch: Vec<Rating> = events.by_ref().take(BATCH_ROWS).collect();
        if batch.is_empty() {
            break;
        }
        progress.advance(batch.len() as u64);
        let receipt = storage.put_ratings(batch, PutOptions::default()).await?;
        applied += receipt.count(Outcome::Applied) as u64;
        accepted += receipt.count(Outcome::Accepted) as u64;
    }
    drop(progress);
    let seconds = started.elapsed().as_secs_f64();
    if accepted > 0 {
        session.output.talk(TAKES_EFFECT);
    }
    session.output.answer(&Generated { ratings: options.ratings, output: None, applied, accepted, seconds })
}

#[derive(Serialize)]
struct Generated {
    ratings: u64,
    output: Option<PathBuf>,
    applied: u64,
    accepted: u64,
    seconds: f64,
}

impl Answer for Generated {
    fn page(&self, page: &mut Page) {
        let took = std::time::Duration::from_secs_f64(self.seconds);
        let place = match &self.output {
            Some(path) => format!("to {}", path.display()),
            None if self.accepted > 0 => format!("into the store, {} accepted", Count(self.accepted)),
            None => format!("into the store, {} applied", Count(self.applied)),
        };
        page.line(format_args!(
            "{} ratings {place} in {} ({} per second)",
            Count(self.ratings),
            Took(took),
            rate(self.ratings, took)
        ));
    }
}
