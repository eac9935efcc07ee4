//! `recstore pipeline status`: what is committed, how old it is, and what waits.

use recstore::aws::pipeline::PipelineStatus;
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page, Table};
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore pipeline status
  recstore pipeline status --json";

pub(super) async fn run(session: &Session) -> Done {
    let status = session.aws().await?.pipeline_status().await?;
    session.output.answer(&Status(status))
}

/// How fresh what is computed from the tables will be; nothing in modes whose reads are always fresh.
pub(in crate::commands) async fn freshness(session: &Session) -> Done {
    let Some(storage) = session.opened_aws() else { return Ok(()) };
    let status = storage.pipeline_status().await?;
    let waiting = status.waiting.events;
    let more = match waiting {
        0 => String::new(),
        _ => format!("; events that wait for `recstore pipeline run`: {}", Count(waiting)),
    };
    match status.as_of {
        Some(as_of) => session.output.talk(format_args!("ratings as of {as_of}{more}")),
        None => session.output.talk(format_args!("nothing is committed yet{more}")),
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Status(PipelineStatus);

impl Answer for Status {
    fn page(&self, page: &mut Page) {
        let status = &self.0;
        let age = status.age_seconds.map(|seconds| format!(" ({} ago)", Age(seconds))).unwrap_or_default();
        page.pairs([
            ("generation", shown_generation(status)),
            ("as of", status.as_of.map_or("-".to_owned(), |as_of| format!("{as_of}{age}"))),
            ("waiting events", waiting(status.waiting)),
            ("waiting feature rows", waiting(status.waiting_features)),
        ]);
        if let Some(claimed) = status.claimed {
            page.line(format_args!(
                "generation {claimed} is claimed: a run is under way, or the next one finishes it"
            ));
        }
        for gap in &status.gaps {
            page.line(format_args!("a hole: event {} is missing before {}", gap.missing, gap.next));
        }
        for name in &status.foreign {
            page.line(format_args!("no object of events: {name}"));
        }
        self.last_run(page);
        let mut table = Table::new(["table", ">files", ">rows", ">that stand", ">bytes"]);
        for figures in &status.tables {
            let counts = [figures.files, figures.rows, figures.live, figures.bytes];
            table
                .row([figures.table.clone()].into_iter().chain(counts.map(|count| Count(count).to_string())));
        }
        page.gap();
        page.table(table);
    }
}

impl Status {
    fn last_run(&self, page: &mut Page) {
        let Some(last) = &self.0.last else { return };
        page.gap();
        page.heading(format_args!("generation {}", self.0.generation));
        let count = |count: u64| Count(count).to_string();
        let mut pairs = vec![
            ("claimed at", last.created_at.to_string()),
            ("because of", last.purpose.to_owned()),
            ("objects read", count(last.objects)),
            ("events", count(last.events)),
        ];
        let seldom = [
            ("feature rows", last.feature_rows),
            ("holes", last.gaps),
            ("lines in quarantine", last.rejected),
        ];
        pairs
            .extend(seldom.into_iter().filter(|(_, some)| *some > 0).map(|(name, some)| (name, count(some))));
        pairs.extend(last.quarantine.iter().map(|name| ("quarantine", name.clone())));
        page.pairs(pairs);
    }
}

fn shown_generation(status: &PipelineStatus) -> String {
    match status.generation {
        0 => "none yet; `recstore pipeline run` makes the first".to_owned(),
        committed if committed == status.served => committed.to_string(),
        committed => format!("{committed}, while readers are at {}; the next run tells them", status.served),
    }
}

fn waiting(waiting: recstore::aws::pipeline::status::Waiting) -> String {
    match waiting.objects {
        0 => "0".to_owned(),
        objects => {
            format!("{} in {} objects, {} bytes", Count(waiting.events), Count(objects), Count(waiting.bytes))
        }
    }
}

/// Seconds as people read an age: `40 s`, `12 min`, `3 h 5 min`, `2 d 4 h`.
struct Age(u64);

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, minutes) => write!(f, "{minutes} min"),
            (0, hours, minutes) => write!(f, "{hours} h {} min", minutes % 60),
            (days, hours, _) => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_well() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (11_100, "3 h 5 min"), (187_200, "2 d 4 h")]
        {
            assert_eq!(Age(seconds).to_string(), text);
        }
    }
}
