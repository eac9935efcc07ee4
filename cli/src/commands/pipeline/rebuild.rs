//! `recstore pipeline rebuild-online`: empty tables, filled from the lake.

use recstore::Opener;
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page};
use crate::progress::Progress;
use crate::session::{Session, not_opened};

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore setup aws && recstore pipeline rebuild-online";

pub(super) async fn run(session: &Session) -> Done {
    let config = session.aws_config()?;
    // Not opened as usual: that refuses empty tables.
    let opener = Opener::new(&config).clock(session.clock.clone());
    let storage = opener.connect_aws().await.map_err(not_opened)?;
    let progress = Progress::spinner(&session.output, "filling the tables");
    let published = storage.pipeline().rebuild_online().await?;
    drop(progress);
    session.output.answer(&Rebuilt(published))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Rebuilt(recstore::aws::pipeline::PublishReport);

impl Answer for Rebuilt {
    fn page(&self, page: &mut Page) {
        let report = &self.0;
        page.pairs([
            ("items of ratings", Count(report.rating_items).to_string()),
            ("items of features", Count(report.feature_items).to_string()),
            ("items of custom groups", Count(report.custom_items).to_string()),
            ("items that were there", Count(report.unchanged).to_string()),
        ]);
    }
}
