//! `recstore schema`: the stored form of the `sqlite` mode, without opening it as a store.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use recstore::sqlite::{self, SchemaInfo, Validation};
use recstore::{Config, ErrorKind, StorageMode};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Page};
use crate::session::{NO_STORE_YET, Session};

const EXAMPLES: &str = "\
Examples:
  recstore schema info
  recstore schema migrate
  recstore schema validate --json";

/// Look at, bring up to date or check the stored form.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Show the version of the stored form, and the one that this program writes
    #[command(after_help = EXAMPLES)]
    Info,
    /// Bring the stored form up to date
    #[command(after_help = EXAMPLES)]
    Migrate,
    /// Check the stored form in depth; reads everything
    #[command(after_help = EXAMPLES)]
    Validate,
}

/// Runs the command.
///
/// # Errors
/// If there is no such file, it is no store, or it is damaged.
pub async fn run(command: SchemaCommand, session: &Session) -> Done {
    let path = database(&session.config()?)?;
    match command {
        SchemaCommand::Info => {
            let info = blocking(&path, sqlite::schema_info).await?;
            session.output.answer(&Info { path, info })
        }
        SchemaCommand::Migrate => {
            let migrations = blocking(&path, sqlite::migrate).await?;
            session.output.answer(&Migrated { path, migrations })
        }
        SchemaCommand::Validate => {
            let validation = blocking(&path, sqlite::validate).await?;
            let failure = (!validation.ok).then(|| {
                Failure::new(Exit::BadStore, format!("problems were found in {}", path.display()))
                    .hint("restore it from a copy; if it is no recstore file, name another as database.path")
            });
            session.output.answer(&Validated { path, validation })?;
            failure.map_or(Ok(()), Err)
        }
    }
}

/// The file of the store, where the mode has one.
pub(super) fn database(config: &Config) -> Done<PathBuf> {
    if config.storage_mode == StorageMode::Sqlite {
        return Ok(config.database.path.clone());
    }
    let text = format!(
        "this command is about the file of the sqlite mode, and storage_mode is {}",
        config.storage_mode
    );
    Err(Failure::new(Exit::Config, text).hint("`recstore doctor` looks at a store of any mode"))
}

/// Runs work on a file where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> recstore::Result<T> + Send + 'static,
) -> Done<T> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    let done = done.map_err(|cause| Failure::new(Exit::Internal, "the work panicked").because(cause))?;
    done.map_err(|error| match error.kind() {
        // The path is the configuration's.
        ErrorKind::Invalid => Failure::from(error).exiting(Exit::Config),
        ErrorKind::NotFound => Failure::from(error).hint(NO_STORE_YET),
        _ => Failure::from(error),
    })
}

#[derive(Serialize)]
struct Info {
    path: PathBuf,
    #[serde(flatten)]
    info: SchemaInfo,
}

impl Answer for Info {
    fn page(&self, page: &mut Page) {
        page.pairs([
            ("file", self.path.display().to_string()),
            ("version", self.info.found.to_string()),
            ("this program", self.info.supported.to_string()),
        ]);
        match self.info.found.cmp(&self.info.supported) {
            Ordering::Less => page.line("`recstore schema migrate` brings it up to date"),
            Ordering::Equal => {}
            Ordering::Greater => page.line("a newer program wrote it: upgrade this one to open it"),
        }
    }
}

#[derive(Serialize)]
struct Migrated {
    path: PathBuf,
    migrations: u32,
}

impl Answer for Migrated {
    fn page(&self, page: &mut Page) {
        match self.migrations {
            0 => page.line(format_args!("{} is up to date", self.path.display())),
            count => page.line(format_args!("{}: {count} migrations", self.path.display())),
        }
    }
}

#[derive(Serialize)]
struct Validated {
    path: PathBuf,
    #[serde(flatten)]
    validation: Validation,
}

impl Answer for Validated {
    fn page(&self, page: &mut Page) {
        let Validation { ok, problems, checks } = &self.validation;
        if *ok {
            page.line(format_args!("{}: {checks} checks, nothing is wrong", self.path.display()));
            return;
        }
        problems.iter().for_each(|problem| page.line(problem));
    }
}
