//! Turns an input into checked events: row by row ([`RowReader`]), or in batches on a thread of its own.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use recstore::{Clock, IngestLimits, Rating};
use tokio::sync::mpsc;

use super::csv::{ColumnNames, CsvRows, MOVIELENS_HEADER};
use super::jsonl::JsonRows;
use super::lines::{Line, Lines};
use super::row::{Rejection, RowChecker};
use super::time::TimeUnit;
use crate::exit::Exit;
use crate::failure::{Done, Failure};

/// Batches that are read ahead of the store.
const READ_AHEAD: usize = 2;

/// How the input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Told by the first line
    Auto,
    /// CSV with the header userId,movieId,rating,timestamp; times in seconds
    Movielens,
    /// Delimited text with a header
    Csv,
    /// One JSON object per line
    Jsonl,
}

/// How to read an input.
#[derive(Debug, Clone)]
pub struct Options {
    /// How it is written.
    pub format: Format,
    /// The columns of delimited text.
    pub columns: ColumnNames,
    /// The delimiter; told by the header where none is given.
    pub delimiter: Option<u8>,
    /// How times are written; where none is given, seconds for MovieLens and told by each time otherwise.
    pub time_unit: Option<TimeUnit>,
    /// The most rows in a batch.
    pub batch_rows: usize,
    /// Whether reading ends at the first bad row.
    pub stop_at_bad_row: bool,
}

/// Where rows come from.
pub struct Input {
    /// The file's name without its folder, or `stdin`.
    pub name: String,
    /// Its size, where that is known.
    pub bytes: Option<u64>,
    /// The file, if it is one.
    pub path: Option<PathBuf>,
    reader: Box<dyn Read + Send>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("name", &self.name).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Input {
    /// What `reader` gives, under a name for messages.
    pub fn new(name: impl Into<String>, reader: impl Read + Send + 'static) -> Input {
        Input { name: name.into(), bytes: None, path: None, reader: Box::new(reader) }
    }

    /// Opens a file, or stdin for `-`.
    ///
    /// # Errors
    /// If there is no such file, it is a folder or it cannot be read.
    pub fn open(path: &Path) -> Done<Input> {
        if path == Path::new("-") {
            return Ok(Input::new("stdin", io::stdin()));
        }
        let unreadable = |cause| Failure::file(Exit::NoInput, "open", path, cause);
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            let text = format!("{} is a folder, a file is expected", path.display());
            return Err(Failure::new(Exit::NoInput, text));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Input { name, bytes, path: Some(path.to_owned()), reader: Box::new(file) })
    }
}

/// A part of the input, read and checked.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Events to store.
    pub(crate) events: Vec<Rating>,
    /// Rows that are none.
    pub(crate) rejections: Vec<Rejection>,
    /// How many bytes of the input were read up to here.
    pub(crate) position: u64,
    /// Why this is the last batch, if reading ended early.
    pub(crate) ended: Option<Ended>,
}

impl Batch {
    fn rows(&self) -> usize {
        self.events.len() + self.rejections.len()
    }
}

/// Why reading ended before the end of the input.
#[derive(Debug)]
pub enum Ended {
    /// At the last rejection of the batch, as asked.
    BadRow,
    /// The input has no rows of the expected form.
    NoRows(String),
    /// The input could not be read on.
    Unreadable(io::Error),
}

/// Reads rows one by one, in memory bounded by the longest line ([`MAX_LINE_BYTES`](super::MAX_LINE_BYTES)) and
/// the lines that an open quote joins.
pub struct RowReader {
    lines: Lines,
    checker: RowChecker,
    rows: Rows,
}

impl fmt::Debug for RowReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowReader").field("consumed", &self.lines.consumed()).finish_non_exhaustive()
    }
}

impl RowReader {
    /// Begins to read: takes the header, if the form has one.
    ///
    /// # Errors
    /// `NoRows` for an empty input and for a header without the columns of an event, `Unreadable`.
    pub fn open(
        input: Input,
        options: &Options,
        limits: IngestLimits,
        clock: Arc<dyn Clock>,
    ) -> Result<RowReader, Ended> {
        let mut lines = Lines::new(input.reader);
        let rows = open_rows(&mut lines, options).map_err(Ended::Unreadable)?.map_err(Ended::NoRows)?;
        Ok(RowReader { lines, checker: RowChecker { limits, clock }, rows })
    }

    /// The next row, an event or the reason why it is none; `None` at the end. Empty lines are passed over.
    ///
    /// # Errors
    /// If the input cannot be read on.
    pub fn next_row(&mut self) -> io::Result<Option<Result<Rating, Rejection>>> {
        self.rows.next(&mut self.lines, &self.checker)
    }
}

/// Starts reading. The thread ends with the input, or when nobody listens any more.
pub(crate) fn start(
    input: Input,
    options: Options,
    limits: IngestLimits,
    clock: Arc<dyn Clock>,
) -> mpsc::Receiver<Batch> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        let mut batches = Batches { batch: Batch::default(), sender };
        let rows = RowReader::open(input, &options, limits, clock);
        let ended = rows.and_then(|mut rows| batches.fill(&mut rows, &options));
        batches.batch.ended = ended.unwrap_or_else(Some);
        batches.send();
    });
    receiver
}

/// The batch that is being filled, and where full ones go.
struct Batches {
    batch: Batch,
    sender: mpsc::Sender<Batch>,
}

impl Batches {
    /// Reads to the end, or to where reading has to end.
    fn fill(&mut self, rows: &mut RowReader, options: &Options) -> Result<Option<Ended>, Ended> {
        let mut any = false;
        while let Some(row) = rows.next_row().map_err(Ended::Unreadable)? {
            any = true;
            self.batch.position = rows.lines.consumed();
            match row {
                Ok(event) => self.batch.events.push(event),
                Err(bad) => {
                    self.batch.rejections.push(bad);
                    if options.stop_at_bad_row {
                        return Ok(Some(Ended::BadRow));
                    }
                }
            }
            if self.batch.rows() >= options.batch_rows && !self.send() {
                return Ok(None);
            }
        }
        self.batch.position = rows.lines.consumed();
        Ok((!any).then(|| Ended::NoRows("the file has a header and no rows".into())))
    }

    /// Hands the batch on; `false` if nobody takes it.
    fn send(&mut self) -> bool {
        self.sender.blocking_send(std::mem::take(&mut self.batch)).is_ok()
    }
}

/// Rows in one of the forms.
enum Rows {
    Csv(Box<CsvRows>),
    Json(JsonRows),
}

impl Rows {
    fn next(
        &mut self,
        lines: &mut Lines,
        checker: &RowChecker,
    ) -> io::Result<Option<Result<Rating, Rejection>>> {
        match self {
            Rows::Csv(rows) => rows.next(lines, checker),
            Rows::Json(rows) => rows.next(lines, checker),
        }
    }
}

/// Looks at the first line that is not blank, and takes it if it is a header.
fn open_rows(lines: &mut Lines, options: &Options) -> io::Result<Result<Rows, String>> {
    let mut first = Line::default();
    loop {
        if !lines.next_into(&mut first)? {
            return Ok(Err("the file is empty".into()));
        }
        if !first.bytes.iter().all(u8::is_ascii_whitespace) {
            break;
        }
    }
    let format = match options.format {
        Format::Auto => detect(&first.bytes, &options.columns),
        format => format,
    };
    let rows = match format {
        Format::Jsonl => {
            lines.put_back(std::iter::once(first));
            Ok(Rows::Json(JsonRows::new(options.time_unit.unwrap_or(TimeUnit::Auto))))
        }
        Format::Movielens => {
            let unit = options.time_unit.unwrap_or(TimeUnit::S);
            csv_rows(&first, options.delimiter, &ColumnNames::movielens(), unit)
        }
        Format::Csv | Format::Auto => {
            let unit = options.time_unit.unwrap_or(TimeUnit::Auto);
            csv_rows(&first, options.delimiter, &options.columns, unit)
        }
    };
    Ok(rows)
}

fn csv_rows(
    header: &Line,
    delimiter: Option<u8>,
    names: &ColumnNames,
    unit: TimeUnit,
) -> Result<Rows, String> {
    CsvRows::new(header, delimiter, names, unit)
        .map(|rows| Rows::Csv(Box::new(rows)))
        .map_err(|problem| format!("line {}: {problem}", header.number))
}

/// Tells the form by the first line: an object, the header of MovieLens, or any other header.
fn detect(first: &[u8], names: &ColumnNames) -> Format {
    let text = String::from_utf8_lossy(first);
    let text = text.trim();
    if text.starts_with('{') {
        return Format::Jsonl;
    }
    let mut columns = text.split(',').map(|name| name.trim().trim_matches('"'));
    let movielens = MOVIELENS_HEADER.iter().all(|name| columns.next() == Some(name));
    if movielens && columns.next().is_none() && *names == ColumnNames::default() {
        Format::Movielens
    } else {
        Format::Csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_the_first_line() {
        let none = ColumnNames::default();
        assert_eq!(detect(br#" {"user":1}"#, &none), Format::Jsonl);
        assert_eq!(detect(b"userId,movieId,rating,timestamp", &none), Format::Movielens);
        assert_eq!(detect(br#""userId","movieId","rating","timestamp""#, &none), Format::Movielens);
        assert_eq!(detect(b"userId,movieId,rating,timestamp,note", &none), Format::Csv);
        assert_eq!(detect(b"user;item;rating;time", &none), Format::Csv);
    }
}
