//! `recstore import`: the ratings of a file into the store.

use std::path::{Path, PathBuf};

use clap::Args;
use recstore::IngestLimits;

use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::import::{ColumnNames, Format, Import, Imported, Input, OnError, Options, Summary, TimeUnit};
use crate::output::{Answer, Count, Output, Page, Took, rate};
use crate::session::Session;
use crate::spent;

const HELP: &str = "\
Forms:
  movielens  header userId,movieId,rating,timestamp; times in seconds
  csv        a header and named columns; a delimiter of , tab ; or | is told by the header
  jsonl      {\"user\":\"1\",\"item\":\"31\",\"value\":2.5,\"rated_at\":\"2009-12-14T02:52:24Z\"}
             ids are text or integers; \"value\":null withdraws; \"event_id\" is optional
An event id that is a UUID or 32 hexadecimal digits is kept, any other text is a name and is hashed.
Lines over 1 MiB are bad rows. Importing a file again stores nothing twice.

Examples:
  recstore import ml-latest-small/ratings.csv
  recstore import events.csv --user-column who --item-column what --time-unit ms --on-error skip
  kafka-export | recstore import - --format jsonl --json";

/// What to import, and how.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ImportArgs {
    /// The file, or - for stdin
    file: PathBuf,
    /// How it is written
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// What a bad row does
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnError,
    /// Where bad rows are written, as JSON lines [default: ./<FILE's name>.rejected.jsonl]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The column of users
    #[arg(long, value_name = "NAME")]
    user_column: Option<String>,
    /// The column of items
    #[arg(long, value_name = "NAME")]
    item_column: Option<String>,
    /// The column of ratings
    #[arg(long, value_name = "NAME")]
    value_column: Option<String>,
    /// The column of times
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
    /// The column of event ids, if there is one
    #[arg(long, value_name = "NAME")]
    event_column: Option<String>,
    /// How times are written [default: s for movielens, else auto]
    #[arg(long, value_enum)]
    time_unit: Option<TimeUnit>,
    /// What stands between columns: a character, or `tab`
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Rows that are stored in one step
    // Measured on a set of 3 million: twice the rate of 10,000 rows, for pages are written once for more rows.
    #[arg(long, value_name = "ROWS", default_value_t = 50_000, value_parser = batch_rows)]
    batch: usize,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'"' | b'\n' | b'\r'] => Err("quotes and line ends are no delimiters".into()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("a delimiter is one ASCII character, or `tab`".into()),
    }
}

fn batch_rows(text: &str) -> Result<usize, String> {
    let most = recstore::ratings::MAX_BATCH_EVENTS;
    text.parse()
        .ok()
        .filter(|rows| (1..=most).contains(rows))
        .ok_or_else(|| format!("a batch has 1 to {most} rows"))
}

impl ImportArgs {
    fn options(&self) -> Options {
        Options {
            format: self.format,
            columns: ColumnNames {
                user: self.user_column.clone(),
                item: self.item_column.clone(),
                value: self.value_column.clone(),
                time: self.time_column.clone(),
                event_id: self.event_column.clone(),
            },
            delimiter: self.delimiter,
            time_unit: self.time_unit,
            batch_rows: self.batch,
            stop_at_bad_row: self.on_error == OnError::Stop,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the input cannot be read, has a bad row (unless these are passed over), or the store fails. What was
/// stored before is told on stdout in any case.
pub async fn run(args: ImportArgs, session: &Session) -> Done {
    let input = Input::open(&args.file)?;
    let report =
        args.report.clone().unwrap_or_else(|| PathBuf::from(format!("{}.rejected.jsonl", input.name)));
    refuse_same_file(&report, input.path.as_deref())?;
    let limits = IngestLimits { max_future_skew: session.config()?.ingest.max_future_skew };
    let import = Import {
        storage: session.storage_or_new().await?,
        options: args.options(),
        limits,
        clock: session.clock.clone(),
        report,
    };
    let imported = import.run(input, &session.output, interrupt(session.output)).await;
    finish(imported, &session.output)
}

/// What is said of events that are stored and not ordered yet.
pub(super) const TAKES_EFFECT: &str =
    "accepted events are stored; features and neighbours have them after the next `recstore pipeline run`";

/// Prints the summary, however the import ended.
fn finish(imported: Imported, output: &Output) -> Done {
    let Imported { summary, failure } = imported;
    let answered = output.answer(&summary);
    if let (Some(report), 1..) = (&summary.report, summary.rejected) {
        let rows = Count(summary.rejected);
        output.warn(format_args!("bad rows that were not stored: {rows}; see {}", report.display()));
    }
    if summary.accepted > 0 {
        output.talk(TAKES_EFFECT);
    }
    if summary.conflicts > 0 {
        let rows = Count(summary.conflicts);
        output.warn(format_args!("rows whose event id is known with another content: {rows}"));
    }
    match failure {
        Some(failure) => Err(failure),
        None => answered,
    }
}

/// Creating the report empties it, which must not be the input.
fn refuse_same_file(report: &Path, input: Option<&Path>) -> Done {
    let same = input.is_some_and(|input| {
        matches!((report.canonicalize(), input.canonicalize()), (Ok(report), Ok(input)) if report == input)
    });
    if same {
        return Err(Failure::new(Exit::Usage, "the report would replace the input")
            .hint("name another file with --report"));
    }
    Ok(())
}

/// Ends at the first Ctrl-C; the second ends the process at once, which loses nothing that was acknowledged.
async fn interrupt(output: Output) {
    // Where signals cannot be heard, Ctrl-C ends the process as ever.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    output.talk("interrupted: waiting for the rows in flight (again to stop at once)");
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
}

impl Answer for Summary {
    fn page(&self, page: &mut Page) {
        let took = std::time::Duration::from_secs_f64(self.seconds);
        page.line(format_args!(
            "rows read: {} in {} ({} per second)",
            Count(self.read),
            Took(took),
            rate(self.read, took)
        ));
        // A store that orders events later tells of none of them what became of it.
        let mut counts = match self.accepted {
            0 => vec![("applied", self.applied), ("stale", self.stale), ("duplicate", self.duplicate)],
            accepted => vec![("accepted", accepted)],
        };
        counts.push(("rejected", self.rejected));
        let seldom = [("erased", self.erased), ("conflicts", self.conflicts)];
        counts.extend(seldom.into_iter().filter(|(_, count)| *count > 0));
        let mut pairs: Vec<_> =
            counts.into_iter().map(|(name, count)| (name, Count(count).to_string())).collect();
        pairs.extend(self.cost.iter().flat_map(spent::pairs));
        page.pairs(pairs);
        if let Some(report) = &self.report {
            page.line(format_args!("bad rows: {}", report.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_one_character() {
        assert_eq!(delimiter(";"), Ok(b';'));
        assert_eq!(delimiter("tab"), Ok(b'\t'));
        assert!(delimiter("\"").is_err() && delimiter("ab").is_err() && delimiter("é").is_err());
    }

    #[test]
    fn a_batch_is_within_the_limit_of_the_stores() {
        assert_eq!(batch_rows("1"), Ok(1));
        assert!(batch_rows("0").is_err() && batch_rows("100001").is_err() && batch_rows("x").is_err());
    }
}
