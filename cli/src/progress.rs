//! A progress bar on stderr, for people only: nothing is drawn where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

const KNOWN_SIZE: &str =
    "{msg} [{bar:30}] {percent:>3} %  {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left";
const ITEMS: &str = "{msg} [{bar:30}] {percent:>3} %  {human_pos} of {human_len}  {per_sec}  {eta} left";
const UNKNOWN_SIZE: &str = "{msg} {spinner} {bytes}  {binary_bytes_per_sec}  {elapsed}";
const WORKING: &str = "{msg} {spinner} {elapsed}";

/// How far a long command is.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Progress through `bytes`, or through an input of unknown size.
    pub fn bytes(output: &Output, what: &str, bytes: Option<u64>) -> Progress {
        let template = if bytes.is_some() { KNOWN_SIZE } else { UNKNOWN_SIZE };
        Progress { bar: bar(output, what, bytes, template) }
    }

    /// Progress through this many things.
    pub fn items(output: &Output, what: &str, items: u64) -> Progress {
        Progress { bar: bar(output, what, Some(items), ITEMS) }
    }

    /// A sign of life for work whose extent is not known.
    pub fn spinner(output: &Output, what: &str) -> Progress {
        let bar = bar(output, what, None, WORKING);
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar }
    }

    /// Moves to this position.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Shows how far this part of the work is.
    pub fn phase(&self, what: &'static str, done: u64, of: u64) {
        self.bar.set_message(what);
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// Moves on by this much.
    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }
}

impl Drop for Progress {
    /// Takes the bar away, so that what follows begins on a clean line.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(output: &Output, what: &str, length: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, target(output)).with_message(what.to_owned());
    // The templates are constants; were one wrong, the default style would show.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn target(output: &Output) -> ProgressDrawTarget {
    if output.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
