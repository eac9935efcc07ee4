//! Files of events: delimited text and JSON lines.

use std::io::Cursor;
use std::sync::Arc;

use recstore::{IngestLimits, ManualClock, Rating, Timestamp};
use recstore_cli::import::{ColumnNames, Ended, Format, Input, Options, Rejection, RowReader};

use crate::Answer;

/// The most characters of a bad line that a rejection shows.
const MOST_SHOWN: usize = 200;
/// 2100-01-01T00:00:00Z, so that some times lie ahead of the clock and most do not.
const NOW: i64 = 4_102_444_800;

type Row = Result<Rating, Rejection>;

/// Bytes as delimited text, by its header, and as MovieLens has it.
pub fn import_csv(data: &[u8]) -> Answer {
    let answers = [Format::Csv, Format::Movielens].map(|format| import(data, format, write_csv));
    answers.into_iter().min().unwrap_or(Answer::Refused)
}

/// Bytes as JSON lines, and as whatever the first line says.
pub fn import_jsonl(data: &[u8]) -> Answer {
    let answers = [Format::Jsonl, Format::Auto].map(|format| import(data, format, write_jsonl));
    answers.into_iter().min().unwrap_or(Answer::Refused)
}

fn import(data: &[u8], format: Format, write: fn(&[Rating]) -> (String, Format)) -> Answer {
    let rows = match read(data.to_vec(), format) {
        Ok(rows) => rows,
        Err(problem) => {
            assert!(!problem.is_empty());
            return Answer::Refused;
        }
    };
    check_rejections(data, &rows);
    let events: Vec<Rating> = rows.into_iter().filter_map(Result::ok).collect();
    if events.is_empty() {
        return Answer::Refused;
    }
    let (text, format) = write(&events);
    let back = read(text.clone().into_bytes(), format).unwrap_or_else(|problem| panic!("{problem}: {text}"));
    let back: Vec<Rating> =
        back.into_iter().map(|row| row.unwrap_or_else(|bad| panic!("{bad}: {text}"))).collect();
    assert_eq!(back, events, "{text}");
    Answer::Taken
}

/// Every row, or why there is none.
fn read(bytes: Vec<u8>, format: Format) -> Result<Vec<Row>, String> {
    let options = Options {
        format,
        columns: ColumnNames::default(),
        delimiter: None,
        time_unit: None,
        batch_rows: 1,
        stop_at_bad_row: false,
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(NOW).expect("a valid time")));
    let input = Input::new("input", Cursor::new(bytes));
    let mut reader =
        RowReader::open(input, &options, IngestLimits::default(), clock).map_err(|ended| match ended {
            Ended::NoRows(problem) => problem,
            other => panic!("bytes in memory can be read: {other:?}"),
        })?;
    let rows = std::iter::from_fn(|| reader.next_row().expect("bytes in memory can be read"));
    Ok(rows.collect())
}

/// Rejections come in the order of their lines, which exist, and show no more than the beginning of them.
fn check_rejections(data: &[u8], rows: &[Row]) {
    let lines = data.split(|&byte| byte == b'\n').count() as u64;
    assert!(rows.len() as u64 <= lines, "{} rows of {lines} lines", rows.len());
    let mut before = 0;
    for bad in rows.iter().filter_map(|row| row.as_ref().err()) {
        assert!(before < bad.line && bad.line <= lines, "line {} of {lines} after {before}", bad.line);
        assert!(!bad.field.is_empty() && !bad.reason.is_empty());
        assert!(bad.text.chars().count() <= MOST_SHOWN);
        before = bad.line;
    }
}

fn write_csv(events: &[Rating]) -> (String, Format) {
    let mut text = "user,item,value,rated_at,event_id\n".to_owned();
    for event in events {
        let value = event.value().expect("delimited text has no withdrawals");
        let quoted = |id: &str| format!("\"{}\"", id.replace('"', "\"\""));
        text += &format!(
            "{},{},{},{},{}\n",
            quoted(event.user().as_str()),
            quoted(event.item().as_str()),
            value.as_f64(),
            event.rated_at(),
            event.event_id()
        );
    }
    (text, Format::Csv)
}

fn write_jsonl(events: &[Rating]) -> (String, Format) {
    let mut text = String::new();
    for event in events {
        let line = serde_json::json!({
            "user": event.user(),
            "item": event.item(),
            "value": event.value().map(|value| value.as_f64()),
            "rated_at": event.rated_at().to_string(),
            "event_id": event.event_id(),
        });
        text += &format!("{line}\n");
    }
    (text, Format::Jsonl)
}
