//! `recstore pipeline rebuild-online`: empty tables, filled from the lake.

use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page};
use crate::progress::Progress;
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore setup aws && recstore pipeline rebuild-online";

pub(super) async fn run(session: &Session) -> Done {
    let storage = session.connected_aws().await?;
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
