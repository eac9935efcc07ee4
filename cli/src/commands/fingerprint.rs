//! `recstore fingerprint`: content hashes, equal for equal content in stores of any mode.

use clap::Args;
use recstore::{Fingerprints, GetOptions};

use crate::failure::Done;
use crate::output::{Answer, Page};
use crate::progress::Progress;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore fingerprint
  test \"$(recstore fingerprint --json)\" = \"$(recstore --config copy.yaml fingerprint --json)\"";

/// Nothing can be chosen.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FingerprintArgs {}

/// Runs the command.
///
/// # Errors
/// If the store fails.
pub async fn run(_: FingerprintArgs, session: &Session) -> Done {
    let storage = session.storage().await?;
    let progress = Progress::spinner(&session.output, "reading everything");
    let fingerprints = storage.fingerprint(GetOptions::default()).await?;
    drop(progress);
    session.output.answer(&fingerprints)
}

impl Answer for Fingerprints {
    fn page(&self, page: &mut Page) {
        page.pairs([
            ("ratings", self.ratings.to_string()),
            ("features", self.features.to_string()),
            ("similarities", self.similarities.to_string()),
        ]);
    }
}
