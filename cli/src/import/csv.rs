//! Delimited text with a header: MovieLens and everything like it.
//!
//! A record is a line. Where a quoted field is still open at the end of a line, the following lines are
//! joined to it if that makes a record of the right width; if not, only the first line is bad, so that one
//! stray quote cannot swallow the rest of a file.

use std::io;

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
use recstore::Rating;

use super::lines::{Line, Lines};
use super::row::{self, Problem, Rejection, RowChecker};
use super::time::TimeUnit;

/// The most lines of one record.
const MAX_RECORD_LINES: usize = 100;
/// The most columns of a file.
const MAX_COLUMNS: usize = 4096;
/// Delimiters that are tried where none is given.
const DELIMITERS: [u8; 4] = *b",\t;|";

/// The header of MovieLens rating files; their times are seconds.
pub(crate) const MOVIELENS_HEADER: [&str; 4] = ["userId", "movieId", "rating", "timestamp"];

/// What the caller says about the columns; what is left out is found by the usual names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnNames {
    /// Who rated.
    pub user: Option<String>,
    /// What was rated.
    pub item: Option<String>,
    /// The rating.
    pub value: Option<String>,
    /// When.
    pub time: Option<String>,
    /// The identity of the event; the one column that may be missing.
    pub event_id: Option<String>,
}

impl ColumnNames {
    pub(crate) fn movielens() -> ColumnNames {
        let [user, item, value, time] = MOVIELENS_HEADER.map(|name| Some(name.to_owned()));
        ColumnNames { user, item, value, time, event_id: None }
    }
}

/// Where each part of an event stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Positions {
    user: usize,
    item: usize,
    value: usize,
    time: usize,
    event_id: Option<usize>,
}

/// Reads events from records.
#[derive(Debug)]
pub(crate) struct CsvRows {
    splitter: Splitter,
    positions: Positions,
    width: usize,
    unit: TimeUnit,
    line: Line,
}

impl CsvRows {
    /// Takes the header line.
    pub(crate) fn new(
        header: &Line,
        delimiter: Option<u8>,
        names: &ColumnNames,
        unit: TimeUnit,
    ) -> Result<CsvRows, String> {
        let (splitter, header) = split_header(header, delimiter)?;
        let positions = find_columns(&header, names)?;
        Ok(CsvRows { splitter, positions, width: header.len(), unit, line: Line::default() })
    }

    /// The next event or bad row; `None` at the end. Empty lines are passed over.
    pub(crate) fn next(
        &mut self,
        lines: &mut Lines,
        checker: &RowChecker,
    ) -> io::Result<Option<Result<Rating, Rejection>>> {
        let mut line = std::mem::take(&mut self.line);
        while lines.next_into(&mut line)? {
            if line.bytes.is_empty() {
                continue;
            }
            let row = match self.split(&mut line, lines)? {
                Ok(()) => self.event(checker),
                Err(problem) => Err(problem),
            };
            let row = row.map_err(|problem| Rejection::new(line.number, &line.bytes, problem));
            self.line = line;
            return Ok(Some(row));
        }
        Ok(None)
    }

    /// Splits the record that begins with `line`, which is left as the whole record.
    fn split(&mut self, line: &mut Line, lines: &mut Lines) -> io::Result<Result<(), Problem>> {
        if let Err(problem) = check_text(line) {
            return Ok(Err(problem));
        }
        let width = match self.splitter.split(&mut line.bytes) {
            Split::Record(width) => width,
            Split::OpenQuote => {
                if self.join(line, lines)? {
                    return Ok(Ok(()));
                }
                return Ok(Err(Problem::of_line("a quote is opened and not closed")));
            }
        };
        if width == self.width {
            return Ok(Ok(()));
        }
        Ok(Err(Problem::of_line(format!("has {width} columns, the header has {}", self.width))))
    }

    /// Adds following lines until the open quote is closed and the record has its width; if that fails the
    /// lines are put back.
    fn join(&mut self, line: &mut Line, lines: &mut Lines) -> io::Result<bool> {
        let first_length = line.bytes.len();
        let mut joined = Vec::new();
        let mut next = Line::default();
        let mut quotes = Quotes::new(self.splitter.delimiter);
        let mut end = quotes.read(&line.bytes);
        while end == End::Open && joined.len() + 1 < MAX_RECORD_LINES && lines.next_into(&mut next)? {
            line.bytes.push(b'\n');
            line.bytes.extend_from_slice(&next.bytes);
            quotes.read(b"\n");
            end = quotes.read(&next.bytes);
            let fits = check_text(&next).is_ok() && line.bytes.len() <= super::lines::MAX_LINE_BYTES;
            joined.push(std::mem::take(&mut next));
            if !fits || quotes.fields > self.width {
                break;
            }
            if end == End::Closed && self.splitter.split(&mut line.bytes) == Split::Record(self.width) {
                return Ok(true);
            }
        }
        line.bytes.truncate(first_length);
        lines.put_back(joined.into_iter());
        Ok(false)
    }

    /// The event of the record that was split last.
    fn event(&self, checker: &RowChecker) -> Result<Rating, Problem> {
        let field = |index| self.splitter.field(index);
        let at = self.positions;
        let event_id = at.event_id.map(field).filter(|text| !text.is_empty()).map(row::event_id);
        checker.event(
            row::user(field(at.user))?,
            row::item(field(at.item))?,
            Some(row::value(field(at.value))?),
            row::time(field(at.time), self.unit)?,
            event_id,
        )
    }
}

/// Where a record stands at the end of what was read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Within quotes.
    Open,
    /// Outside of quotes.
    Closed,
    /// A quoted field goes on after its closing quote. Splitting is lenient there, and would take the opening quote
    /// of a later row for the closing one of a stray quote, and the rows between for one field.
    Irregular,
}

/// Follows the quotes of a record, line by line: each byte is looked at once, however many lines are joined.
#[derive(Debug)]
struct Quotes {
    delimiter: u8,
    place: Place,
    /// The fields that have begun.
    fields: usize,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within quotes: the closing one, or the first of two that are one.
    AfterQuote,
    Nowhere,
}

impl Quotes {
    fn new(delimiter: u8) -> Quotes {
        Quotes { delimiter, place: Place::FieldStart, fields: 1 }
    }

    /// Reads on. A line end belongs to the field within quotes and ends the record outside of them.
    fn read(&mut self, bytes: &[u8]) -> End {
        for &byte in bytes {
            self.place = match (self.place, byte) {
                (Place::FieldStart | Place::AfterQuote, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::AfterQuote,
                (Place::Quoted, _) => Place::Quoted,
                (Place::FieldStart | Place::Unquoted | Place::AfterQuote, byte) if byte == self.delimiter => {
                    self.fields += 1;
                    Place::FieldStart
                }
                (Place::FieldStart | Place::Unquoted, _) => Place::Unquoted,
                (Place::AfterQuote | Place::Nowhere, _) => Place::Nowhere,
            };
        }
        match self.place {
            Place::Quoted => End::Open,
            Place::Nowhere => End::Irregular,
            Place::FieldStart | Place::Unquoted | Place::AfterQuote => End::Closed,
        }
    }
}

/// Whether the line can be read as text at all.
pub(crate) fn check_text(line: &Line) -> Result<&str, Problem> {
    if line.too_long {
        let most = super::lines::MAX_LINE_BYTES;
        return Err(Problem::of_line(format!("is longer than {most} bytes")));
    }
    std::str::from_utf8(&line.bytes)
        .map_err(|error| Problem::of_line(format!("is not UTF-8 (byte {})", error.valid_up_to() + 1)))
}

/// What splitting a record gave.
#[derive(Debug, PartialEq, Eq)]
enum Split {
    /// A whole record of this many fields.
    Record(usize),
    /// The end of the text lies within quotes.
    OpenQuote,
}

/// Splits one record into fields, without allocating for each.
#[derive(Debug)]
struct Splitter {
    delimiter: u8,
    reader: csv_core::Reader,
    text: String,
    buffer: Vec<u8>,
    ends: Vec<usize>,
}

impl Splitter {
    fn new(delimiter: u8) -> Splitter {
        let reader = ReaderBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        Splitter { delimiter, reader, text: String::new(), buffer: Vec::new(), ends: vec![0; MAX_COLUMNS] }
    }

    /// Splits `record`, which is UTF-8 without its line end.
    fn split(&mut self, record: &mut Vec<u8>) -> Split {
        self.reader.reset();
        // Fields are never longer than their record; one byte more keeps the buffer from being full.
        self.buffer.resize(record.len() + 1, 0);
        record.push(b'\n');
        let (result, _, length, fields) = self.reader.read_record(record, &mut self.buffer, &mut self.ends);
        record.pop();
        if result == ReadRecordResult::InputEmpty {
            return Split::OpenQuote;
        }
        self.text.clear();
        // The record was UTF-8 and is cut at ASCII only.
        self.text.push_str(std::str::from_utf8(&self.buffer[..length]).unwrap_or_default());
        Split::Record(fields)
    }

    /// A field of the record that was split last.
    fn field(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.text.get(start..self.ends[index]).unwrap_or_default()
    }
}

/// The fields of the header, and the splitter for the rows below it.
fn split_header(header: &Line, delimiter: Option<u8>) -> Result<(Splitter, Vec<String>), String> {
    check_text(header).map_err(|problem| format!("the header {}", problem.reason))?;
    let fields_with = |delimiter: u8| {
        let mut splitter = Splitter::new(delimiter);
        match splitter.split(&mut header.bytes.clone()) {
            Split::Record(width) => {
                let fields = (0..width).map(|index| splitter.field(index).trim().to_owned()).collect();
                Ok((splitter, fields))
            }
            Split::OpenQuote => Err("a quote is opened in the header and not closed".to_owned()),
        }
    };
    if let Some(delimiter) = delimiter {
        return fields_with(delimiter);
    }
    let mut best: (Splitter, Vec<String>) = fields_with(DELIMITERS[0])?;
    for delimiter in &DELIMITERS[1..] {
        let other = fields_with(*delimiter)?;
        if other.1.len() > best.1.len() {
            best = other;
        }
    }
    Ok(best)
}

/// The names by which a column is known where the caller names none.
const USUAL_NAMES: [(&str, &str, &[&str]); 5] = [
    ("user", "--user-column", &["user", "userid", "uid"]),
    ("item", "--item-column", &["item", "itemid", "movieid", "productid", "iid"]),
    ("value", "--value-column", &["value", "rating", "score", "stars"]),
    ("time", "--time-column", &["ratedat", "timestamp", "time", "ts", "date", "createdat"]),
    ("event id", "--event-column", &["eventid"]),
];

fn find_columns(header: &[String], names: &ColumnNames) -> Result<Positions, String> {
    let given = [&names.user, &names.item, &names.value, &names.time, &names.event_id];
    let mut found = [None; 5];
    for (slot, (given, usual)) in found.iter_mut().zip(given.into_iter().zip(USUAL_NAMES)) {
        *slot = match given {
            Some(name) => Some(named_column(header, name)?),
            None => usual_column(header, usual)?,
        };
    }
    let [user, item, value, time, event_id] = found;
    let needed = |position: Option<usize>, (what, flag, _): (&str, &str, &[&str])| {
        position.ok_or_else(|| {
            format!(
                "the header has no column for the {what}; name it with {flag}, there are: {}",
                header.join(", ")
            )
        })
    };
    Ok(Positions {
        user: needed(user, USUAL_NAMES[0])?,
        item: needed(item, USUAL_NAMES[1])?,
        value: needed(value, USUAL_NAMES[2])?,
        time: needed(time, USUAL_NAMES[3])?,
        event_id,
    })
}

fn named_column(header: &[String], name: &str) -> Result<usize, String> {
    let mut matching = header.iter().enumerate().filter(|(_, column)| *column == name);
    match (matching.next(), matching.next()) {
        (Some((position, _)), None) => Ok(position),
        (Some(_), Some(_)) => Err(format!("the header has the column {name:?} twice")),
        _ => Err(format!("the header has no column {name:?}, there are: {}", header.join(", "))),
    }
}

fn usual_column(
    header: &[String],
    (what, flag, usual): (&str, &str, &[&str]),
) -> Result<Option<usize>, String> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
    let mut matching =
        header.iter().enumerate().filter(|(_, column)| usual.contains(&plain(column).as_str()));
    match (matching.next(), matching.next()) {
        (Some((_, first)), Some((_, second))) => {
            Err(format!("both {first:?} and {second:?} could be the {what}; say which with {flag}"))
        }
        (first, _) => Ok(first.map(|(position, _)| position)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use recstore::{IngestLimits, SystemClock};

    use super::*;

    fn rows(text: &str, names: &ColumnNames) -> Vec<Result<Rating, Rejection>> {
        let mut lines = Lines::new(Box::new(io::Cursor::new(text.to_owned().into_bytes())));
        let mut header = Line::default();
        assert!(lines.next_into(&mut header).unwrap());
        let mut reader = CsvRows::new(&header, None, names, TimeUnit::Auto).unwrap();
        let checker = RowChecker { limits: IngestLimits::default(), clock: Arc::new(SystemClock) };
        std::iter::from_fn(|| reader.next(&mut lines, &checker).unwrap()).collect()
    }

    fn header_error(header: &str, names: &ColumnNames) -> String {
        let line = Line { number: 1, bytes: header.into(), too_long: false };
        CsvRows::new(&line, None, names, TimeUnit::Auto).unwrap_err()
    }

    #[test]
    fn columns_are_found_by_their_usual_names_in_any_order() {
        let rows = rows("ts;Score;Item_ID;user\n5;4.5;a;b\n", &ColumnNames::default());
        let row = rows[0].as_ref().unwrap();
        assert_eq!((row.user().as_str(), row.item().as_str()), ("b", "a"));
        assert_eq!(row.value().unwrap().as_f64(), 4.5);
    }

    #[test]
    fn a_header_that_does_not_say_enough_is_refused_with_its_columns() {
        let none = ColumnNames::default();
        assert_eq!(
            header_error("a,b", &none),
            "the header has no column for the user; name it with --user-column, there are: a, b"
        );
        assert!(header_error("user,uid,item,rating,time", &none).contains("--user-column"));
        let names = ColumnNames { user: Some("x".into()), ..ColumnNames::default() };
        assert!(header_error("user,item,rating,time", &names).contains("no column \"x\""));
    }

    #[test]
    fn quoted_fields_may_hold_delimiters_quotes_and_line_ends() {
        let text = "user,item,rating,time,note\n\"a,1\",\"b\"\"2\",\"4\",5,\"two\nlines\"\nc,d,3,6,\n";
        let rows = rows(text, &ColumnNames::default());
        let first = rows[0].as_ref().unwrap();
        assert_eq!((first.user().as_str(), first.item().as_str()), ("a,1", "b\"2"));
        assert_eq!(rows[1].as_ref().unwrap().user().as_str(), "c");
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_stray_quote_costs_one_line_only() {
        let text = "user,item,rating,time\n\"a,b,1,5\nc,d,2,6\n\"e,f,3,7\ng,h,4,8\n";
        let rows = rows(text, &ColumnNames::default());
        let lines: Vec<Option<u64>> = rows.iter().map(|row| row.as_ref().err().map(|bad| bad.line)).collect();
        assert_eq!(lines, [Some(2), None, Some(4), None]);
        assert_eq!(rows[0].as_ref().unwrap_err().reason, "a quote is opened and not closed");
    }

    #[test]
    fn rows_between_two_stray_quotes_are_kept() {
        let text = "user,item,rating,time,note\na,b,1,5,\"oops\nc,d,2,6,fine\ne,f,3,7,\"x\"\n";
        let rows = rows(text, &ColumnNames::default());
        let bad: Vec<bool> = rows.iter().map(Result::is_err).collect();
        assert_eq!(bad, [true, false, false]);
    }

    #[test]
    fn where_quotes_leave_a_record_is_known_at_every_line() {
        for (text, end, fields) in [
            ("", End::Closed, 1),
            ("a,b\"c", End::Closed, 2),
            ("\"a,b\",\"\"", End::Closed, 2),
            ("\"a\"\"b\"", End::Closed, 1),
            ("a,\"b", End::Open, 2),
            ("\"a\"\"", End::Open, 1),
            ("\"\n,", End::Open, 1),
            ("\"a\"b,", End::Irregular, 1),
            ("\"a\" ,", End::Irregular, 1),
        ] {
            let mut quotes = Quotes::new(b',');
            assert_eq!((quotes.read(text.as_bytes()), quotes.fields), (end, fields), "{text:?}");
            let mut bytewise = Quotes::new(b',');
            let last = text.bytes().map(|byte| bytewise.read(&[byte])).last();
            assert_eq!(last.unwrap_or(End::Closed), end, "{text:?}");
        }
    }

    /// Each of these lines is open after the line before it, too. Splitting what was joined so far anew with each
    /// line took four seconds for a megabyte.
    #[test]
    fn stray_quotes_in_every_line_cost_no_more_than_reading_the_lines() {
        for line in ["\"a\",\"bbbbbbb", "x\",\"ybbbbbb", "\"bb\"\"bbbbb"] {
            let line = line.replace("bbbbb", &"b".repeat(10_000)) + "\n";
            let begin = std::time::Instant::now();
            let rows =
                rows(&format!("user,item,rating,time\n{}", line.repeat(2000)), &ColumnNames::default());
            assert_eq!((rows.len(), rows.iter().filter(|row| row.is_err()).count()), (2000, 2000));
            assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
        }
    }

    #[test]
    fn a_row_of_another_width_is_bad() {
        let rows = rows("user,item,rating,time\na,b,1\na,b,1,5,6\n", &ColumnNames::default());
        let reasons: Vec<&str> = rows.iter().map(|row| row.as_ref().unwrap_err().reason.as_str()).collect();
        assert_eq!(reasons, ["has 3 columns, the header has 4", "has 5 columns, the header has 4"]);
    }
}
