//! Starts the service: `recstore-service [--config recstore.yaml] [--listen 127.0.0.1:8080]`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use recstore::{Config, Opener, SystemClock};
use recstore_service::App;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: recstore-service [--config recstore.yaml] [--listen 127.0.0.1:8080]";

/// What was asked for on the command line.
struct Options {
    config: PathBuf,
    listen: String,
}

impl Options {
    /// `None` where help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
        let mut options = Options { config: "recstore.yaml".into(), listen: "127.0.0.1:8080".into() };
        while let Some(flag) = arguments.next() {
            if matches!(flag.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            let value = arguments.next().with_context(|| format!("{flag} needs a value; {USAGE}"));
            match flag.as_str() {
                "--config" => options.config = value?.into(),
                "--listen" => options.listen = value?,
                _ => bail!("{flag} is no flag; {USAGE}"),
            }
        }
        Ok(Some(options))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => run(options).await,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With its causes, but without a backtrace: it is for whoever runs the service.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let config = Config::load(&options.config)?;
    let clock = Arc::new(SystemClock);
    let storage = Opener::new(&config).clock(clock.clone()).open().await?;
    let listener = TcpListener::bind(&options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    // Scripts and tests that ask for port 0 read the port from this line.
    eprintln!("listening on http://{}", listener.local_addr()?);

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("ending: answering what was asked, then closing the store");
    };
    recstore_service::serve(listener, App { storage, clock }, stop).await
}
