//! `recstore similar build`: neighbours from ratings, checked and made the current ones.

use clap::Args;
use recstore::{BuildOptions, BuildPhase, BuildReport, CheckOptions, Measure, Storage, build_release};
use serde::Serialize;

use super::ForArgs;
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Count, Output, Page, Table};
use crate::progress::Progress;
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Measures:
  cosine           all raters, a missing rating is 0
  adjusted-cosine  ratings minus the user's mean, over the common raters
  pearson          correlation over the common raters
  jaccard          common raters over all raters, ratings left aside

Examples:
  recstore similar build
  recstore similar build --refresh
  recstore similar build --measure pearson --min-common 20 --k 100
  recstore similar build --for users --no-promote --json";

/// How to build.
#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    whose: ForArgs,
    /// cosine, adjusted-cosine, pearson or jaccard [default: as configured, cosine]
    #[arg(long)]
    measure: Option<Measure>,
    /// The most neighbours of each [default: as configured, 50]
    #[arg(short, long = "k", value_name = "K")]
    k: Option<usize>,
    /// The fewest common raters of a neighbour [default: as configured, 1]
    #[arg(long, value_name = "N")]
    min_common: Option<u32>,
    /// λ of the shrinkage n / (n + λ), n being the common raters [default: as configured, 0]
    #[arg(long, value_name = "LAMBDA", allow_negative_numbers = true)]
    shrinkage: Option<f64>,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The least share of entities that must have a neighbour, 0 to 1
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value_t = CheckOptions::default().min_coverage)]
    min_coverage: f64,
    /// The greatest share of the first neighbours that may have changed, 0 to 1
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value_t = CheckOptions::default().max_churn)]
    max_churn: f64,
    /// The greatest share of entities that may have gone, 0 to 1
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value_t = CheckOptions::default().max_entity_drop)]
    max_entity_drop: f64,
    /// Take new events in first, where this is not done by itself: in the aws mode, a pipeline run
    #[arg(long)]
    refresh: bool,
    /// Leave the release sealed; `similar promote` makes it current
    #[arg(long)]
    no_promote: bool,
}

impl BuildArgs {
    /// What is asked for, over what is configured.
    fn options(&self, configured: recstore::SimilarityOptions) -> BuildOptions {
        let similarity = recstore::SimilarityOptions {
            measure: self.measure.unwrap_or(configured.measure),
            k: self.k.unwrap_or(configured.k),
            min_common: self.min_common.unwrap_or(configured.min_common),
            shrinkage: self.shrinkage.unwrap_or(configured.shrinkage),
        };
        let checks = CheckOptions {
            min_coverage: self.min_coverage,
            max_churn: self.max_churn,
            max_entity_drop: self.max_entity_drop,
        };
        BuildOptions::default()
            .with_kind(self.whose.kinds.into())
            .with_similarity(similarity)
            .with_threads(self.threads.map_or(0, usize::from))
            .with_checks(checks)
            .with_promote(!self.no_promote)
    }
}

pub(super) async fn run(args: BuildArgs, session: &Session) -> Done {
    let options = args.options(session.config()?.similarity);
    let storage = session.storage().await?;
    if args.refresh {
        let progress = Progress::spinner(&session.output, "taking new events in");
        storage.refresh().await?;
        drop(progress);
    }
    #[cfg(feature = "aws")]
    super::super::pipeline::freshness(session).await?;
    let built = build(&*storage, options, &session.output).await?;
    let passed = built.0.checks.require();
    session.output.answer(&built)?;
    passed.map_err(|error| {
        Failure::new(Exit::Data, "the release did not pass its checks and was not promoted")
            .because(error)
            .hint("look at it with `similar show --release`; `similar promote` makes it current all the same")
    })
}

/// Builds a release and shows how far it is.
pub(in crate::commands) async fn build(
    storage: &dyn Storage,
    options: BuildOptions,
    output: &Output,
) -> Done<Built> {
    let bar = Progress::items(output, "reading ratings", 0);
    let options = options.with_progress(move |progress| {
        let what = match progress.phase {
            BuildPhase::Reading => "reading ratings",
            BuildPhase::Computing => "computing neighbours",
        };
        bar.phase(what, progress.done, progress.total);
    });
    Ok(Built(build_release(storage, &options).await?))
}

/// What a build did.
#[derive(Serialize)]
#[serde(transparent)]
pub(in crate::commands) struct Built(pub(in crate::commands) BuildReport);

impl Answer for Built {
    fn page(&self, page: &mut Page) {
        let report = &self.0;
        let state = if report.promoted { "is current now" } else { "is sealed and was not promoted" };
        let seconds = report.seconds.read + report.seconds.neighbours + report.seconds.publish;
        page.line(format_args!("{} {state}", report.release));
        page.pairs([
            ("measure", report.spec.options.measure.to_string()),
            ("lists", Count(report.entities).to_string()),
            ("neighbours", Count(report.neighbours).to_string()),
            ("raters", Count(report.raters).to_string()),
            ("ratings", Count(report.ratings).to_string()),
            ("seconds", format!("{seconds:.2}")),
        ]);
        page.gap();
        let mut table = Table::new(["check", "result", ">found", ">limit", "of"]);
        for check in &report.checks.checks {
            table.row([
                check.name.to_owned(),
                if check.ok { "ok".to_owned() } else { "FAILED".to_owned() },
                format!("{:.4}", check.found),
                check.limit.to_string(),
                check.detail.clone(),
            ]);
        }
        page.table(table);
    }
}
