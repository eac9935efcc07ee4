//! `recstore pipeline rebuild-online`: empty tables, filled from the lake.

use recstore::Cost;
use recstore::aws::metered;
use recstore::aws::pipeline::PublishReport;
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page};
use crate::progress::Progress;
use crate::session::Session;
use crate::spent;

pub(super) const EXAMPLES: &str = "\
Fills the tables with what is committed, and with rows of custom groups that no run has taken in yet.

Examples:
  recstore setup aws && recstore pipeline rebuild-online";

pub(super) async fn run(session: &Session) -> Done {
    let storage = session.connected_aws().await?;
    let progress = Progress::spinner(&session.output, "filling the tables");
    let (published, cost) = metered(storage.pipeline().rebuild_online()).await;
    drop(progress);
    session.output.answer(&Rebuilt { published: published?, cost })
}

#[derive(Serialize)]
struct Rebuilt {
    #[serde(flatten)]
    published: PublishReport,
    cost: Cost,
}

impl Answer for Rebuilt {
    fn page(&self, page: &mut Page) {
        let count = |count: u64| Count(count).to_string();
        let mut pairs = vec![
            ("items of ratings", count(self.published.rating_items)),
            ("items of features", count(self.published.feature_items)),
            ("items of custom groups", count(self.published.custom_items)),
            ("items that were there", count(self.published.unchanged)),
        ];
        pairs.extend(spent::pairs(&self.cost));
        page.pairs(pairs);
    }
}
