//! A progress bar on stderr, for people only: nothing is drawn where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

const KNOWN_SIZE: &str =
    "{msg} [{bar:30}] {percent:>3} %  {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left";
const UNKNOWN_SIZE: &str = "{msg} {spinner} {bytes}  {binary_bytes_per_sec}  {elapsed}";

/// How far a long command is.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Progress through `bytes`, or through an input of unknown size.
    pub fn bytes(output: &Output, what: &str, bytes: Option<u64>) -> Progress {
        let template = if bytes.is_some() { KNOWN_SIZE } else { UNKNOWN_SIZE };
        let bar = ProgressBar::with_draw_target(bytes, target(output)).with_message(what.to_owned());
        // The templates are constants; were one wrong, the default style would show.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Progress { bar }
    }

    /// A sign of life for work whose extent is not known.
    pub fn spinner(output: &Output, what: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(None, target(output)).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg} {spinner} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar }
    }

    /// Moves to this position.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }
}

impl Drop for Progress {
    /// Takes the bar away, so that what follows begins on a clean line.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn target(output: &Output) -> ProgressDrawTarget {
    if output.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
