//! `recstore pipeline quarantine`: the lines that were no events.

use clap::Args;
use recstore::aws::pipeline::{QuarantineOptions, QuarantineReport};
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page, Table};
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore pipeline quarantine
  recstore pipeline quarantine --generation 12 --limit 1000 --json";

/// What a table shows of a line, in characters; the document for programs has all that was kept.
const SHOWN: usize = 60;

/// Which lines.
#[derive(Debug, Args)]
pub struct QuarantineArgs {
    /// Only those that the run of this generation met
    #[arg(long, value_name = "G")]
    generation: Option<u64>,
    /// The most lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = QuarantineOptions::default().limit)]
    limit: usize,
}

pub(super) async fn run(args: QuarantineArgs, session: &Session) -> Done {
    let options = QuarantineOptions { generation: args.generation, limit: args.limit };
    let report = session.aws().await?.quarantine(options).await?;
    session.output.answer(&Quarantined(report))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Quarantined(QuarantineReport);

impl Answer for Quarantined {
    fn page(&self, page: &mut Page) {
        let QuarantineReport { lines, refused, more } = &self.0;
        if lines.is_empty() && !more {
            page.line("no lines in quarantine");
            return;
        }
        let mut table = Table::new([">generation", ">line", "reason", "text", "object"]);
        for refused in lines {
            table.row([
                refused.generation.to_string(),
                refused.line.map_or("-".to_owned(), |line| line.to_string()),
                begin(&refused.reason),
                begin(&refused.text),
                refused.object.clone(),
            ]);
        }
        page.table(table);
        page.line(format_args!("lines that these runs refused: {}", Count(*refused)));
        if *more {
            page.line("more are written down: --limit shows them");
        }
    }
}

/// How a text begins. It came from outside, and must not command a terminal.
fn begin(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use recstore::aws::pipeline::RefusedLine;

    use super::*;

    fn page_of(report: QuarantineReport) -> String {
        let mut page = Page::plain();
        Quarantined(report).page(&mut page);
        page.text().to_owned()
    }

    #[test]
    fn lines_are_aligned_cut_and_harmless() {
        let text = format!("{{\"user\":\"\u{1b}[2J{}", "x".repeat(100));
        let line = |generation, line, text: &str| RefusedLine {
            generation,
            object: "bronze/v1/o".to_owned(),
            line,
            reason: "user: stands twice".to_owned(),
            text: text.to_owned(),
        };
        let lines = vec![line(12, Some(3), &text), line(2, None, "profile of 1")];
        let shown = page_of(QuarantineReport { lines, refused: 10_001, more: true });
        assert!(!shown.contains('\u{1b}') && shown.contains("{\"user\":\"\\u{1b}[2Jxxx"), "{shown}");
        let mut rows = shown.lines();
        assert!(rows.next().unwrap().starts_with("generation  line  reason              text"), "{shown}");
        assert!(
            rows.next().unwrap().contains("x…") && rows.next().unwrap().contains("   -  user"),
            "{shown}"
        );
        assert!(shown.ends_with("refused: 10,001\nmore are written down: --limit shows them\n"), "{shown}");
    }

    #[test]
    fn an_empty_quarantine_is_said() {
        assert_eq!(page_of(QuarantineReport::default()), "no lines in quarantine\n");
    }
}
