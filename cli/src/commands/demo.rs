//! `recstore demo`: the whole path on generated data, in a temporary folder that is removed at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use recstore::{
    BuildOptions, Config, EntityKey, EntityKind, FeatureRequest, GetOptions, HistoryOptions, ItemId,
    NeighbourRequest, RecommendOptions, Storage, UserId, recommend,
};
use recstore_testkit::synthetic::SyntheticOptions;
use serde::Serialize;

use super::features::Rows;
use super::generate::write_csv;
use super::recommend::Recommended;
use super::similar::{Built, Lists, build_release};
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::import::{ColumnNames, Format, Import, Input, Options, Summary};
use crate::output::{Answer, Count, Page, Took, rate};
use crate::session::Session;

/// Neighbours and recommendations that are shown.
const SHOWN: usize = 5;

const EXAMPLES: &str = "\
Examples:
  recstore demo
  recstore demo --users 10000 --items 50000 --ratings 500000";

/// How much to make up.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// How many users
    #[arg(long, default_value_t = 2_000)]
    users: u64,
    /// How many items
    #[arg(long, default_value_t = 5_000)]
    items: u64,
    /// How many ratings
    #[arg(long, default_value_t = 100_000)]
    ratings: u64,
    /// Another seed makes other ratings
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// If the size makes no sense, or anything that is shown fails.
pub async fn run(args: DemoArgs, session: &Session) -> Done {
    let folder = tempfile::tempdir().map_err(|cause| {
        Failure::new(Exit::CannotCreate, "cannot create a temporary folder").because(cause)
    })?;
    let mut config = Config::default();
    config.database.path = folder.path().join("recstore.db");
    let storage = session.open_other(&config).await?;
    // Ctrl-C ends here rather than the process, so that the folder is removed; it is heard from the start.
    let shown = tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted("interrupted; nothing is left behind")),
        shown = show(&args, folder.path(), &config, &storage, session) => shown,
    };
    storage.close().await?;
    session.output.answer(&shown?)
}

async fn show(
    args: &DemoArgs,
    folder: &Path,
    config: &Config,
    storage: &Arc<dyn Storage>,
    session: &Session,
) -> Done<Shown> {
    let output = &session.output;
    let file = folder.join("ratings.csv");
    output.talk(format_args!("generating {} ratings", Count(args.ratings)));
    let generated = generate(args, &file).await?;
    output.talk("importing them");
    let import = import(&file, config, storage, session).await?;
    output.talk("building neighbours");
    let started = Instant::now();
    let options = BuildOptions::default().with_similarity(config.similarity);
    let similar = build_release(&**storage, options, output).await?;
    let built = started.elapsed();

    let (item, user) = someone(storage).await?;
    let started = Instant::now();
    let user_features = features(storage, FeatureRequest::of_users([user.clone()])).await?;
    let item_features = features(storage, FeatureRequest::of_items([item.clone()])).await?;
    let read = started.elapsed();
    let request = NeighbourRequest::of_items([item.clone()]).with_limit(SHOWN);
    let neighbours = Lists::new(vec![EntityKey::from(item)], storage.get_neighbours(request).await?);
    let started = Instant::now();
    let recommended = recommend(&**storage, &user, RecommendOptions::default().with_k(SHOWN)).await?;
    let times = Times { generate: generated, build: built, features: read, recommend: started.elapsed() };
    Ok(Shown {
        import,
        similar,
        user,
        user_features,
        item_features,
        neighbours,
        recommendations: Recommended(recommended),
        times,
    })
}

/// Makes the file on a thread where that may block; returns how long it took.
async fn generate(args: &DemoArgs, file: &Path) -> Done<Duration> {
    let started = Instant::now();
    let DemoArgs { users, items, ratings, seed } = *args;
    let events = SyntheticOptions { users, items, ratings, seed }.events()?;
    let path = file.to_owned();
    let write = move || {
        let out = std::fs::File::create(&path)
            .map_err(|cause| Failure::file(Exit::CannotCreate, "create", &path, cause))?;
        write_csv(out, events).map_err(|cause| Failure::file(Exit::Io, "write", &path, cause))
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|cause| Failure::new(Exit::Internal, "generating failed").because(cause))??;
    Ok(started.elapsed())
}

async fn import(
    file: &Path,
    config: &Config,
    storage: &Arc<dyn Storage>,
    session: &Session,
) -> Done<Summary> {
    let import = Import {
        storage: storage.clone(),
        options: Options {
            format: Format::Auto,
            columns: ColumnNames::default(),
            delimiter: None,
            time_unit: None,
            batch_rows: 10_000,
            stop_at_bad_row: true,
        },
        limits: recstore::IngestLimits { max_future_skew: config.ingest.max_future_skew },
        clock: session.clock.clone(),
        report: file.with_extension("rejected.jsonl"),
    };
    let imported = import.run(Input::open(file)?, &session.output, std::future::pending()).await;
    imported.failure.map_or(Ok(imported.summary), Err)
}

async fn features(storage: &Arc<dyn Storage>, request: FeatureRequest) -> Done<Rows> {
    Ok(Rows(storage.get_features(request).await?))
}

/// A popular item and somebody who rated it.
async fn someone(storage: &Arc<dyn Storage>) -> Done<(ItemId, UserId)> {
    let nobody =
        || Failure::new(Exit::Data, "there is too little data to show anything").hint("ask for more ratings");
    let popular = storage.get_popular(EntityKind::Item, 1, GetOptions::default()).await?;
    let item = ItemId::from(popular.into_iter().next().ok_or_else(nobody)?.id);
    let raters = storage.item_history(&item, HistoryOptions::default().with_limit(1)).await?;
    let user = raters.rows.first().ok_or_else(nobody)?.rating.user().clone();
    Ok((item, user))
}

#[derive(Serialize)]
struct Shown {
    import: Summary,
    similar: Built,
    user: UserId,
    user_features: Rows,
    item_features: Rows,
    neighbours: Lists,
    recommendations: Recommended,
    times: Times,
}

/// How long each part took.
#[derive(Serialize)]
struct Times {
    #[serde(serialize_with = "seconds")]
    generate: Duration,
    #[serde(serialize_with = "seconds")]
    build: Duration,
    #[serde(serialize_with = "seconds")]
    features: Duration,
    #[serde(serialize_with = "seconds")]
    recommend: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        let Shown { import, similar, times, .. } = self;
        let imported = Duration::from_secs_f64(import.seconds);
        page.heading("What was done");
        page.pairs([
            ("generated", format!("{} ratings in {}", Count(import.read), Took(times.generate))),
            (
                "imported",
                format!(
                    "{} ratings in {}, {} per second, each batch synced to disk",
                    Count(import.applied),
                    Took(imported),
                    rate(import.applied, imported)
                ),
            ),
            (
                "neighbours",
                format!(
                    "{} lists of items, {} neighbours, in {}",
                    Count(similar.0.entities),
                    Count(similar.0.neighbours),
                    Took(times.build)
                ),
            ),
        ]);
        page.gap();
        page.heading(format_args!("Features of a user and an item, read in {}", Took(times.features)));
        self.user_features.page(page);
        page.gap();
        self.item_features.page(page);
        self.neighbours.page(page);
        page.gap();
        page.heading(format_args!("Recommended to user {} in {}", self.user, Took(times.recommend)));
        self.recommendations.page(page);
        page.gap();
        page.heading("The same on your own file");
        for command in [
            "recstore init",
            "recstore import ratings.csv        (user, item, rating, time; see import --help)",
            "recstore features show user 1",
            "recstore similar build",
            "recstore similar show 1",
            "recstore recommend 1",
        ] {
            page.line(format_args!("  {command}"));
        }
    }
}
