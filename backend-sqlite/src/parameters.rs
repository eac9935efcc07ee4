//! The parameters that shape what is stored: recorded in a new file, held against the settings at each open.

use recstore_core::{BayesianPrior, Error, Result, StoreContext};
use rusqlite::{Connection, OptionalExtension, params};

use crate::bugs::{Bug, seeded};
use crate::checksum::{self, checksum_sql};
use crate::error::SqlResult;
use crate::{Parameters, SqliteConfig};

/// The names of parameters in the file.
const PRIOR: &str = "bayesian_prior";
const ERASURE_KEY: &str = "erasure_key_check";
const STORE_ID: &str = "store_id";

/// Records the parameters of a new file, and holds an old one against them.
pub(crate) fn check(
    connection: &Connection,
    config: &SqliteConfig,
    context: &StoreContext,
    parameters: Parameters,
) -> Result<()> {
    // Says which database a log belongs to; nothing that is stored hangs on it.
    let random: String = connection.query_row("SELECT hex(randomblob(16))", [], |row| row.get(0)).sql()?;
    recorded(connection, config, STORE_ID, &random)?;
    let prior = prior_text(context.prior);
    let key_check = hex(&context.erasure_key.check_value());
    let recorded_key = recorded(connection, config, ERASURE_KEY, &key_check)?;
    if recorded_key.is_some_and(|recorded| recorded != key_check) {
        let text = "is not the key that the store's erasures were made with, they would no longer hold";
        return Err(Error::invalid("erasure_key", text));
    }
    let recorded_prior = recorded(connection, config, PRIOR, &prior)?;
    match recorded_prior {
        Some(recorded) if recorded != prior && parameters == Parameters::Keep => {
            let text = format!(
                "the store was computed with {recorded}, the settings say {prior}: \
                 restore the setting, or run `recstore features rebuild` to take it over"
            );
            Err(Error::invalid("features.prior", text))
        }
        _ => Ok(()),
    }
}

/// The recorded value of a parameter; a new file records `value`, if it may be written. Where another process
/// opens the file at the same time, what the first records is what both are held against.
fn recorded(
    connection: &Connection,
    config: &SqliteConfig,
    name: &str,
    value: &str,
) -> Result<Option<String>> {
    let found = parameter(connection, name)?;
    if found.is_some() || config.read_only {
        return Ok(found);
    }
    let insert = "INSERT INTO parameters (name, value, checksum)
        VALUES (?1, ?2, checksum_of('parameters', ?1, ?2)) ON CONFLICT DO NOTHING";
    connection.execute(insert, params![name, value]).sql()?;
    parameter(connection, name)
}

fn parameter(connection: &Connection, name: &str) -> Result<Option<String>> {
    let select =
        concat!("SELECT checksum = ", checksum_sql!(parameters), ", value FROM parameters WHERE name = ?1");
    let found: Option<(bool, String)> =
        connection.query_row(select, [name], |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
    let Some((intact, value)) = found else { return Ok(None) };
    checksum::hold(intact, "a parameter")?;
    Ok(Some(value))
}

/// What tells a database from all others.
pub(crate) fn store_id(connection: &Connection) -> Result<Option<String>> {
    parameter(connection, STORE_ID)
}

/// Records the prior that features are computed with from now on.
pub(crate) fn record_prior(connection: &Connection, prior: BayesianPrior) -> Result<()> {
    let insert = "INSERT INTO parameters (name, value, checksum)
        VALUES (?1, ?2, checksum_of('parameters', ?1, ?2))
        ON CONFLICT DO UPDATE SET value = excluded.value, checksum = excluded.checksum";
    connection.execute(insert, params![PRIOR, prior_text(prior)]).sql()?;
    Ok(())
}

/// Writes a row that means nothing, in the page of the parameters: to see whether writes work, and to have what tells
/// the database from others in its log. Its value must change: what is the same SQLite does not write.
pub(crate) fn touch(connection: &Connection) -> Result<()> {
    let touch = "INSERT INTO parameters (name, value, checksum)
        VALUES ('touched', 1, checksum_of('parameters', 'touched', 1))
        ON CONFLICT DO UPDATE SET value = value + 1, checksum = checksum_of('parameters', name, value + 1)";
    connection.prepare_cached(touch).sql()?.execute([]).sql()?;
    Ok(())
}

/// Counts that numbers of users and items no longer stand for what they did: one is hidden or shown, or erased, after
/// which its number may be given away again. In the transaction that does it.
pub(crate) fn count_renaming(connection: &Connection) -> Result<()> {
    let count = concat!(
        "INSERT INTO parameters (name, value, checksum)
        VALUES ('renamings', 1, checksum_of('parameters', 'renamings', 1))
        ON CONFLICT DO UPDATE SET value = value + 1, checksum = checksum_of('parameters', name, value + 1)
        WHERE checksum = ",
        checksum_sql!(parameters)
    );
    if seeded(Bug::CountsNoRenamings) {
        return Ok(());
    }
    let counted = connection.prepare_cached(count).sql()?.execute([]).sql()?;
    checksum::hold(counted == 1, "a parameter")
}

/// How often [`count_renaming`] counted.
pub(crate) fn renamings(connection: &Connection) -> Result<i64> {
    let select = concat!(
        "SELECT checksum = ",
        checksum_sql!(parameters),
        ", value FROM parameters WHERE name = 'renamings'"
    );
    let mut select = connection.prepare_cached(select).sql()?;
    let found: Option<(bool, i64)> =
        select.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
    let Some((intact, count)) = found else { return Ok(0) };
    checksum::hold(intact, "a parameter")?;
    Ok(count)
}

fn prior_text(prior: BayesianPrior) -> String {
    format!("mean {} weight {}", prior.mean(), prior.weight())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
