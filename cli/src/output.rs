//! What commands show: data on stdout, as a page for people or one JSON document, and talk on stderr.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, presets};
use serde::Serialize;

use crate::failure::{Done, Failure};

/// The answer of a command, in both of its forms.
pub trait Answer: Serialize {
    /// Writes the form for people; the form for programs is its serialisation.
    fn page(&self, page: &mut Page);
}

/// Where answers and talk go, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Answers as JSON or as pages; `quiet` leaves the talk out.
    pub fn new(json: bool, quiet: bool) -> Output {
        Output { json, quiet }
    }

    /// Whether answers are JSON documents.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar may be drawn.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints an answer on stdout.
    ///
    /// # Errors
    /// If stdout takes no more.
    pub fn answer<A: Answer>(&self, answer: &A) -> Done {
        let text = if self.json { json(answer)? } else { Page::render(answer) };
        self.raw(&text)
    }

    /// Prints text on stdout as it is.
    ///
    /// # Errors
    /// If stdout takes no more.
    pub fn raw(&self, text: &str) -> Done {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::stdout)
    }

    /// Says something on stderr, unless told to be quiet.
    pub fn talk(&self, text: impl Display) {
        if !self.quiet {
            say(text);
        }
    }

    /// Warns on stderr.
    pub fn warn(&self, text: impl Display) {
        say(format_args!("warning: {text}"));
    }
}

/// A line on stderr. Nothing can be done, or said, where stderr is closed.
fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// One document on one line, or indented where a person reads it.
fn json<A: Answer>(answer: &A) -> Done<String> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(answer)
    } else {
        serde_json::to_string(answer)
    };
    text.map(|text| text + "\n").map_err(|cause| {
        Failure::new(crate::exit::Exit::Internal, "cannot write the answer as JSON").because(cause)
    })
}

/// The text of an answer for people.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    colour: bool,
}

impl Page {
    /// A page without colour, for tests and files.
    pub fn plain() -> Page {
        Page::default()
    }

    fn render<A: Answer>(answer: &A) -> String {
        let mut page = Page { text: String::new(), colour: colour_on(&io::stdout()) };
        answer.page(&mut page);
        page.text
    }

    /// What was written so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a line.
    pub fn line(&mut self, text: impl Display) {
        self.text.push_str(&format!("{text}\n"));
    }

    /// Adds an empty line, unless the page is empty.
    pub fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: impl Display) {
        if self.colour {
            self.line(format_args!("\u{1b}[1m{text}\u{1b}[0m"));
        } else {
            self.line(text);
        }
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        let text = table.render(self.colour);
        self.text.push_str(&text);
    }

    /// Adds names and values, aligned.
    pub fn pairs<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, String)>) {
        let pairs: Vec<(&str, String)> = pairs.into_iter().collect();
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in pairs {
            self.line(format_args!("{name:width$}  {value}"));
        }
    }
}

/// Whether a stream is read by a person who does not refuse colour (<https://no-color.org>).
pub fn colour_on(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && stream.is_terminal()
}

/// Rows under named columns, aligned with spaces only.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns; a name that begins with `>` makes a column of numbers, set to the right.
    pub fn new<S: AsRef<str>>(columns: impl IntoIterator<Item = S>) -> Table {
        let mut table = Table { header: Vec::new(), right: Vec::new(), rows: Vec::new() };
        for name in columns {
            let name = name.as_ref();
            table.right.push(name.starts_with('>'));
            table.header.push(name.trim_start_matches('>').to_owned());
        }
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn render(self, colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(self.header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for row in self.rows {
            table.add_row(row);
        }
        for (column, right) in table.column_iter_mut().zip(self.right) {
            column.set_padding((0, 2));
            if right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// A whole number with its thousands set apart: `100,004`.
#[derive(Debug, Clone, Copy)]
pub struct Count(pub u64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A duration as people read it: `3.2 ms`, `1.25 s`, `2 min 5 s`.
#[derive(Debug, Clone, Copy)]
pub struct Took(pub Duration);

impl Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 1.0 {
            write!(f, "{:.1} ms", seconds * 1000.0)
        } else if seconds < 120.0 {
            write!(f, "{seconds:.2} s")
        } else {
            write!(f, "{} min {} s", self.0.as_secs() / 60, self.0.as_secs() % 60)
        }
    }
}

/// How many in a second, over a duration that may be too short to tell.
pub fn rate(count: u64, time: Duration) -> Count {
    let seconds = time.as_secs_f64().max(1e-6);
    Count((count as f64 / seconds).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_have_no_borders() {
        let mut table = Table::new(["id", ">count", "note"]);
        table.row(["1".into(), "20".into(), "a".into()]);
        table.row(["a b/ü".into(), "1234".into(), String::new()]);
        assert_eq!(
            table.render(false),
            "id     count  note\n\
             1         20  a\n\
             a b/ü   1234\n"
        );
    }

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(Count(100_004).to_string(), "100,004");
        assert_eq!(Count(7).to_string(), "7");
        assert_eq!(Count(1_000_000).to_string(), "1,000,000");
        assert_eq!(Took(Duration::from_micros(3_210)).to_string(), "3.2 ms");
        assert_eq!(Took(Duration::from_secs(125)).to_string(), "2 min 5 s");
        assert_eq!(rate(500, Duration::from_millis(250)).0, 2000);
    }
}
