//! A price list: a YAML file in which every price has its unit, its date and its source.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use recstore::Timestamp;
use serde::{Deserialize, Serialize};
use serde_saphyr::{Error as Reason, Location, Spanned, UserMessageFormatter};

use super::money::{Micros, Price};
use crate::exit::Exit;
use crate::failure::{Done, Failure};

/// The list that is used unless another is named.
pub(super) const CURRENT: &str = include_str!("../../../prices/2024-11.yaml");
/// The list that the first estimate was made with.
pub(super) const AT_FIRST: &str = include_str!("../../../prices/2024-10.yaml");
/// A price list is not larger.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Bytes in a GB, as they are billed.
pub(super) const GB: u64 = 1 << 30;

/// What is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Item {
    /// Bytes in S3 Standard over a month.
    S3Storage,
    /// Objects written.
    S3Put,
    /// Pages of 1,000 keys listed.
    S3List,
    /// Objects, or parts of them, read.
    S3Get,
    /// Rows written, by the KB.
    DynamodbWrite,
    /// Rows read, by four KB.
    DynamodbRead,
    /// Bytes in DynamoDB over a month.
    DynamodbStorage,
    /// Bytes in DynamoDB that can be restored to any second.
    DynamodbBackup,
}

impl Item {
    /// What is counted.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Item::S3Storage | Item::DynamodbStorage | Item::DynamodbBackup => "GB-month",
            Item::S3Put | Item::S3List | Item::S3Get => "requests",
            Item::DynamodbWrite | Item::DynamodbRead => "units",
        }
    }

    /// Whether quantities are bytes over a month, priced by the GB.
    pub(super) fn is_stored(self) -> bool {
        self.unit() == "GB-month"
    }
}

/// A price for a number of units.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Rate {
    /// The price of `per` units.
    pub(super) price: Price,
    /// How many units have that price.
    pub(super) per: u64,
    /// What is counted.
    pub(super) unit: &'static str,
    since: String,
    source: String,
}

/// Prices of one region in one currency.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PriceList {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) currency: String,
    pub(super) as_of: String,
    pub(super) prices: Rates,
}

/// A price for everything that is billed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Rates {
    s3_storage: Rate,
    s3_put: Rate,
    s3_list: Rate,
    s3_get: Rate,
    dynamodb_write: Rate,
    dynamodb_read: Rate,
    dynamodb_storage: Rate,
    dynamodb_backup: Rate,
}

impl PriceList {
    /// The prices of a file, or the built-in ones.
    ///
    /// # Errors
    /// If the file cannot be read, or is no price list.
    pub(super) fn load(file: Option<&Path>) -> Done<PriceList> {
        let Some(path) = file else { return PriceList::parse(CURRENT, "built-in prices") };
        let text = read(path).map_err(|cause| Failure::file(Exit::NoInput, "read", path, cause))?;
        PriceList::parse(&text, &path.display().to_string())
    }

    /// Reads a price list; `origin` names it in errors.
    ///
    /// # Errors
    /// If it is none, with line and column.
    pub(super) fn parse(text: &str, origin: &str) -> Done<PriceList> {
        let options = serde_saphyr::options! { with_snippet: false, reject_unsupported_tags: true };
        let read = |yaml: serde_saphyr::Deserializer<'_, '_>| FileForm::deserialize(yaml);
        let form = serde_saphyr::with_deserializer_from_str_with_options(text, options, read)
            .map_err(|cause| at(origin, cause.location(), reason(&cause)))?;
        form.check().map_err(|refused| at(origin, Some(refused.at), refused.reason))
    }

    /// The price of an item.
    pub(super) fn rate(&self, item: Item) -> &Rate {
        let prices = &self.prices;
        match item {
            Item::S3Storage => &prices.s3_storage,
            Item::S3Put => &prices.s3_put,
            Item::S3List => &prices.s3_list,
            Item::S3Get => &prices.s3_get,
            Item::DynamodbWrite => &prices.dynamodb_write,
            Item::DynamodbRead => &prices.dynamodb_read,
            Item::DynamodbStorage => &prices.dynamodb_storage,
            Item::DynamodbBackup => &prices.dynamodb_backup,
        }
    }

    /// What a quantity costs: of bytes where something is stored, else of what is counted.
    ///
    /// # Errors
    /// If it is more than can be counted.
    pub(super) fn cost(&self, item: Item, quantity: u64) -> Done<Micros> {
        let rate = self.rate(item);
        let bytes = if item.is_stored() { GB } else { 1 };
        let cost = rate.price.of(quantity, u128::from(rate.per) * u128::from(bytes));
        cost.ok_or_else(too_large)
    }
}

/// A load that nobody has.
pub(super) fn too_large() -> Failure {
    Failure::new(Exit::Data, "the load is too large to be priced").hint("give smaller numbers")
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a price list is no larger than 1 MiB"));
    }
    Ok(text)
}

fn at(origin: &str, location: Option<Location>, reason: String) -> Failure {
    let (line, column) = location.map_or((1, 1), |location| (location.line(), location.column()));
    Failure::new(Exit::Data, format!("{origin}:{line}:{column}: {reason}"))
        .hint("`recstore cost --print-prices` prints a list that shows every key")
}

/// The parser's error in the words of this program.
fn reason(cause: &Reason) -> String {
    match cause {
        Reason::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key {field:?}, here stand {}", expected.join(", "))
        }
        Reason::SerdeMissingField { field, .. } => format!("{field} is missing"),
        Reason::DuplicateMappingKey { key: Some(key), .. } => format!("{key} stands twice"),
        _ => cause.render_with_formatter(&UserMessageFormatter),
    }
}

/// A value that is refused, and where it stands.
struct Refused {
    at: Location,
    reason: String,
}

impl Refused {
    fn new(value: &Spanned<String>, reason: String) -> Refused {
        Refused { at: value.referenced, reason }
    }
}

/// The file as it is written. Scalars are read as text: what they are is the key's to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    name: Spanned<String>,
    region: Spanned<String>,
    currency: Spanned<String>,
    as_of: Spanned<String>,
    prices: RatesForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesForm {
    s3_storage: Spanned<RateForm>,
    s3_put: Spanned<RateForm>,
    s3_list: Spanned<RateForm>,
    s3_get: Spanned<RateForm>,
    dynamodb_write: Spanned<RateForm>,
    dynamodb_read: Spanned<RateForm>,
    dynamodb_storage: Spanned<RateForm>,
    dynamodb_backup: Spanned<RateForm>,
}

/// What is missing is found by [`rate`], which knows of which price.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateForm {
    price: Option<Spanned<String>>,
    per: Option<Spanned<String>>,
    since: Option<Spanned<String>>,
    source: Option<Spanned<String>>,
}

impl FileForm {
    fn check(self) -> Result<PriceList, Refused> {
        let code = &self.currency.value;
        if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let reason = format!("currency: {code:?} is not a code of three letters such as USD");
            return Err(Refused::new(&self.currency, reason));
        }
        let prices = self.prices;
        Ok(PriceList {
            name: text("name", self.name)?,
            region: text("region", self.region)?,
            currency: self.currency.value,
            as_of: date("as_of", self.as_of)?,
            prices: Rates {
                s3_storage: rate("s3_storage", prices.s3_storage, Item::S3Storage)?,
                s3_put: rate("s3_put", prices.s3_put, Item::S3Put)?,
                s3_list: rate("s3_list", prices.s3_list, Item::S3List)?,
                s3_get: rate("s3_get", prices.s3_get, Item::S3Get)?,
                dynamodb_write: rate("dynamodb_write", prices.dynamodb_write, Item::DynamodbWrite)?,
                dynamodb_read: rate("dynamodb_read", prices.dynamodb_read, Item::DynamodbRead)?,
                dynamodb_storage: rate("dynamodb_storage", prices.dynamodb_storage, Item::DynamodbStorage)?,
                dynamodb_backup: rate("dynamodb_backup", prices.dynamodb_backup, Item::DynamodbBackup)?,
            },
        })
    }
}

/// The price of an item that stands under this name; errors say where in the list.
fn rate(name: &str, form: Spanned<RateForm>, item: Item) -> Result<Rate, Refused> {
    let Spanned { value: form, referenced: at, .. } = form;
    let path = |key: &str| format!("prices.{name}.{key}");
    let given = |key: &str, value: Option<Spanned<String>>| {
        value.ok_or_else(|| Refused { at, reason: format!("{} is missing", path(key)) })
    };
    let price = given("price", form.price)?;
    let per = given("per", form.per)?;
    let since = given("since", form.since)?;
    let source = given("source", form.source)?;
    Ok(Rate {
        price: Price::parse(&price.value)
            .map_err(|reason| Refused::new(&price, format!("{}: {reason}", path("price"))))?,
        per: units(&per.value, item)
            .map_err(|reason| Refused::new(&per, format!("{}: {reason}", path("per"))))?,
        unit: item.unit(),
        since: date(&path("since"), since)?,
        source: text(&path("source"), source)?,
    })
}

/// How many units a price is for: `1000 requests`.
fn units(text: &str, item: Item) -> Result<u64, String> {
    let unit = item.unit();
    let count = text.strip_suffix(unit).and_then(|count| count.trim_end().parse().ok());
    match count {
        Some(count) if count > 0 => Ok(count),
        _ => Err(format!("{text:?} is not a number of {unit}, such as `1000 {unit}`")),
    }
}

fn text(key: &str, value: Spanned<String>) -> Result<String, Refused> {
    let empty = value.value.trim().is_empty();
    if empty { Err(Refused::new(&value, format!("{key} is empty"))) } else { Ok(value.value) }
}

fn date(key: &str, value: Spanned<String>) -> Result<String, Refused> {
    let midnight = format!("{}T00:00:00Z", value.value);
    match Timestamp::parse(&midnight) {
        Ok(_) => Ok(value.value),
        Err(_) => {
            let reason = format!("{key}: {:?} is not a day such as 2024-11-01", value.value);
            Err(Refused::new(&value, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_lists_are_lists() {
        let (first, current) = (PriceList::parse(AT_FIRST, "first"), PriceList::parse(CURRENT, "current"));
        let (first, current) = (first.unwrap(), current.unwrap());
        assert_eq!((first.region, first.as_of), ("us-east-1".into(), "2024-10-31".into()));
        assert_eq!(current.rate(Item::DynamodbWrite).price.to_string(), "0.625");
        assert_eq!(current.rate(Item::DynamodbWrite).since, "2024-11-01");
    }

    #[test]
    fn a_stored_gigabyte_has_two_to_the_thirtieth_bytes() {
        let list = PriceList::parse(CURRENT, "current").unwrap();
        // 10 GB × 0.023 = 0.23; half a GB × 0.25 = 0.125
        assert_eq!(list.cost(Item::S3Storage, 10 * GB).unwrap(), Micros(230_000));
        assert_eq!(list.cost(Item::DynamodbStorage, GB / 2).unwrap(), Micros(125_000));
        assert!(list.cost(Item::DynamodbWrite, u64::MAX).is_ok());
    }
}
