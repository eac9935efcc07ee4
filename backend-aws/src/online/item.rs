//! Items: typed attributes, a format version, a checksum over the content, and the size as DynamoDB counts it.
//!
//! | type | attribute |
//! | --- | --- |
//! | text | `S` |
//! | integer (`i64`, `i128`) | `N` up to 38 digits, which DynamoDB keeps exactly; beyond, 16 bytes big-endian in `B` |
//! | `f64`, finite | 8 bytes big-endian in `B`: `N` has neither its range nor its bits |
//! | bytes | `B` |
//! | flag | `BOOL` |
//! | row | `M` of these |
//!
//! Beside its content every item has `v`, the version of its form, and `c`, the first 8 bytes of keyed BLAKE3 over the
//! table's name (without the prefix), the key and the content: an item that was damaged, edited by hand or put under
//! another key is told when it is read. Attributes that a reader does not know are damage too, for a newer
//! program raises the version.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use recstore_core::{Error, ErrorKind, Result};

use super::keys::ItemKey;
use super::tables::TableName;

/// An item as DynamoDB has it: attributes by name, keys included.
pub type RawItem = HashMap<String, AttributeValue>;

/// The attribute of the partition key.
pub const PARTITION: &str = "pk";
/// The attribute of the sort key.
pub const SORT: &str = "sk";
/// The attribute of the form's version.
const FORMAT: &str = "v";
/// The attribute of the checksum.
const CHECKSUM: &str = "c";

/// The largest item that DynamoDB takes, names and keys included.
pub const MAX_ITEM_BYTES: usize = 400 * 1024;
/// The greatest number of 38 digits.
const MAX_NUMBER: i128 = 10_i128.pow(38) - 1;
/// Made once: deriving it takes as long as hashing a small item.
static CHECKSUM_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("recstore 2026 dynamodb item v1", &[]));

/// The key of an item that has one.
pub fn key_of(item: &RawItem) -> Option<ItemKey> {
    match (item.get(PARTITION)?, item.get(SORT)?) {
        (AttributeValue::S(partition), AttributeValue::S(sort)) => ItemKey::new(partition, sort).ok(),
        _ => None,
    }
}

/// The attributes of a key.
pub fn key_attributes(key: &ItemKey) -> RawItem {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([(PARTITION.to_owned(), text(key.partition())), (SORT.to_owned(), text(key.sort()))])
}

/// Attributes to be written.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Fields(RawItem);

impl Fields {
    /// No attributes.
    pub fn new() -> Fields {
        Fields::default()
    }

    fn with(mut self, name: &'static str, value: AttributeValue) -> Fields {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Adds text.
    pub fn with_text(self, name: &'static str, text: impl Into<String>) -> Fields {
        self.with(name, AttributeValue::S(text.into()))
    }

    /// Adds an integer.
    pub fn with_integer(self, name: &'static str, number: impl Into<i128>) -> Fields {
        let number = number.into();
        if number.unsigned_abs() <= MAX_NUMBER.unsigned_abs() {
            return self.with(name, AttributeValue::N(number.to_string()));
        }
        self.with_bytes(name, number.to_be_bytes())
    }

    /// Adds a number; −0 is 0.
    ///
    /// # Errors
    /// `Invalid` (the attribute's name) if it is not finite.
    pub fn with_float(self, name: &'static str, number: f64) -> Result<Fields> {
        if !number.is_finite() {
            return Err(Error::invalid(name, format!("{number} is not a finite number")));
        }
        let number = if number == 0.0 { 0.0 } else { number };
        Ok(self.with_bytes(name, number.to_be_bytes()))
    }

    /// Adds bytes.
    pub fn with_bytes(self, name: &'static str, bytes: impl Into<Vec<u8>>) -> Fields {
        self.with(name, AttributeValue::B(Blob::new(bytes)))
    }

    /// Adds a flag.
    pub fn with_flag(self, name: &'static str, flag: bool) -> Fields {
        self.with(name, AttributeValue::Bool(flag))
    }

    /// Adds a row.
    pub fn with_row(self, name: &'static str, row: Fields) -> Fields {
        self.with(name, AttributeValue::M(row.0))
    }

    /// The item of this content under `key`, with version and checksum.
    ///
    /// # Errors
    /// `Invalid` if it is larger than DynamoDB takes; the field is the largest attribute.
    pub fn seal(self, table: TableName, key: &ItemKey) -> Result<RawItem> {
        let mut item = self.0;
        item.insert(FORMAT.to_owned(), AttributeValue::N(table.item_format().to_string()));
        item.extend(key_attributes(key));
        let checksum = checksum(table, &item);
        item.insert(CHECKSUM.to_owned(), AttributeValue::B(Blob::new(checksum)));
        check_size(&item).map_err(|error| error.on(place(table, key)))?;
        Ok(item)
    }
}

/// An item that was read and found whole, whose attributes are taken out one by one.
#[derive(Debug)]
pub struct OpenItem {
    table: TableName,
    /// Shared with the rows in it.
    key: Arc<ItemKey>,
    fields: RawItem,
}

impl OpenItem {
    /// Looks at version and checksum of an item of `table`.
    ///
    /// # Errors
    /// `SchemaVersion` if a newer program wrote it, `Corrupt` if it is damaged; both name table and key.
    pub fn open(table: TableName, mut item: RawItem) -> Result<OpenItem> {
        let Some(key) = key_of(&item) else {
            return Err(Error::new(ErrorKind::Corrupt, "an item has no key").on(table.as_str()));
        };
        let damaged = |message: String| Error::new(ErrorKind::Corrupt, message).on(place(table, &key));
        let written = match item.get(FORMAT).map(AttributeValue::as_n) {
            Some(Ok(text)) => text.parse::<u32>().ok(),
            _ => None,
        };
        let known = table.item_format();
        match written {
            Some(form) if form == known => {}
            Some(form) if form > known => {
                let text = format!("the item has form {form}, this program reads up to {known}; upgrade it");
                return Err(Error::new(ErrorKind::SchemaVersion, text).on(place(table, &key)));
            }
            _ => return Err(damaged("the item has no version of its form".to_owned())),
        }
        let Some(AttributeValue::B(stored)) = item.remove(CHECKSUM) else {
            return Err(damaged("the item has no checksum".to_owned()));
        };
        if stored.as_ref() != checksum(table, &item).as_slice() {
            return Err(damaged("the item's content does not match its checksum, restore it".to_owned()));
        }
        for name in [PARTITION, SORT, FORMAT] {
            item.remove(name);
        }
        Ok(OpenItem { table, key: Arc::new(key), fields: item })
    }

    /// Whose item it is.
    pub fn key(&self) -> &ItemKey {
        &self.key
    }

    /// An error about this item's content.
    pub fn damaged(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message).on(place(self.table, &self.key))
    }

    /// Names this item in an error about its content.
    pub fn name_in(&self, error: Error) -> Error {
        error.on(place(self.table, &self.key))
    }

    fn take<T>(&mut self, name: &str, read: impl Fn(AttributeValue) -> Option<T>) -> Result<Option<T>> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.damaged(format!("the attribute {name:?} is of another type"))),
            },
        }
    }

    /// Takes an attribute out, which has to be there.
    ///
    /// # Errors
    /// `Corrupt` if it is not there or of another type; as every one below.
    pub fn required<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.damaged(format!("the attribute {name:?} is missing")))
    }

    /// Takes text out.
    ///
    /// # Errors
    /// `Corrupt` if it is something else.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        self.take(name, |value| match value {
            AttributeValue::S(text) => Some(text),
            _ => None,
        })
    }

    /// Takes an integer out.
    ///
    /// # Errors
    /// `Corrupt` if it is something else, or not written as it would have been.
    pub fn integer(&mut self, name: &str) -> Result<Option<i128>> {
        self.take(name, read_integer)
    }

    /// Takes an integer out that fits `T`.
    ///
    /// # Errors
    /// `Corrupt` if it is something else or out of range.
    pub fn number<T: TryFrom<i128>>(&mut self, name: &str) -> Result<Option<T>> {
        self.take(name, |value| T::try_from(read_integer(value)?).ok())
    }

    /// Takes a number out.
    ///
    /// # Errors
    /// `Corrupt` if it is something else or not finite.
    pub fn float(&mut self, name: &str) -> Result<Option<f64>> {
        self.take(name, |value| match value {
            AttributeValue::B(bytes) => {
                let number = f64::from_be_bytes(bytes.as_ref().try_into().ok()?);
                number.is_finite().then_some(number)
            }
            _ => None,
        })
    }

    /// Takes bytes out.
    ///
    /// # Errors
    /// `Corrupt` if they are something else.
    pub fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        self.take(name, |value| match value {
            AttributeValue::B(bytes) => Some(bytes.into_inner()),
            _ => None,
        })
    }

    /// Takes a flag out.
    ///
    /// # Errors
    /// `Corrupt` if it is something else.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.take(name, |value| match value {
            AttributeValue::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    /// Takes a row out, to be read as an item of this key.
    ///
    /// # Errors
    /// `Corrupt` if it is something else.
    pub fn row(&mut self, name: &str) -> Result<Option<OpenItem>> {
        let fields = self.take(name, |value| match value {
            AttributeValue::M(fields) => Some(fields),
            _ => None,
        })?;
        Ok(fields.map(|fields| OpenItem { table: self.table, key: Arc::clone(&self.key), fields }))
    }

    /// Ends the reading and says whose item it was.
    ///
    /// # Errors
    /// `Corrupt` if an attribute is left: this form has none of that name.
    pub fn finish(self) -> Result<ItemKey> {
        match self.fields.keys().min() {
            None => Ok(Arc::unwrap_or_clone(self.key)),
            Some(name) => Err(self.damaged(format!("the attribute {name:?} is unknown in this form"))),
        }
    }
}

fn read_integer(value: AttributeValue) -> Option<i128> {
    match value {
        AttributeValue::N(text) => {
            let number: i128 = text.parse().ok()?;
            (number.unsigned_abs() <= MAX_NUMBER.unsigned_abs() && number.to_string() == text)
                .then_some(number)
        }
        AttributeValue::B(bytes) => {
            let number = i128::from_be_bytes(bytes.as_ref().try_into().ok()?);
            (number.unsigned_abs() > MAX_NUMBER.unsigned_abs()).then_some(number)
        }
        _ => None,
    }
}

/// Names an item in errors.
pub fn place(table: TableName, key: &ItemKey) -> String {
    format!("{table} {key}")
}

/// The checksum of an item without one.
fn checksum(table: TableName, item: &RawItem) -> [u8; 8] {
    let mut bytes = Vec::with_capacity(256);
    put_bytes(&mut bytes, table.as_str().as_bytes());
    put_fields(&mut bytes, item);
    let mut checksum = [0; 8];
    checksum.copy_from_slice(&blake3::keyed_hash(&CHECKSUM_KEY, &bytes).as_bytes()[..8]);
    checksum
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // An item has at most 400 KB.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Attributes in order of name, each value after a letter of its type.
fn put_fields(out: &mut Vec<u8>, fields: &RawItem) {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_unstable();
    out.extend_from_slice(&(names.len() as u32).to_le_bytes());
    for name in names {
        put_bytes(out, name.as_bytes());
        match &fields[name] {
            AttributeValue::S(text) => put_tagged(out, b'S', text.as_bytes()),
            AttributeValue::N(text) => put_tagged(out, b'N', text.as_bytes()),
            AttributeValue::B(bytes) => put_tagged(out, b'B', bytes.as_ref()),
            AttributeValue::Bool(flag) => put_tagged(out, b'?', &[u8::from(*flag)]),
            AttributeValue::M(fields) => {
                out.push(b'M');
                put_fields(out, fields);
            }
            // Of a type that is never written: no sealed item has this checksum.
            _ => out.push(b'!'),
        }
    }
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_bytes(out, bytes);
}

fn check_size(item: &RawItem) -> Result<()> {
    let size = item_bytes(item);
    if size <= MAX_ITEM_BYTES {
        return Ok(());
    }
    let largest = item.iter().max_by_key(|(name, value)| (value_bytes(value), name.len()));
    let name = largest.map_or(PARTITION, |(name, _)| name.as_str());
    Err(Error::invalid(name, format!("the item has {size} bytes, DynamoDB takes {MAX_ITEM_BYTES}")))
}

/// The size of an item as DynamoDB counts it ("DynamoDB item sizes and formats" in its developer guide):
/// names and text by their UTF-8 bytes, a byte for two significant digits of a number and one more (one more again
/// below zero), binary values by their bytes, flags 1, maps 3 and one more for each entry.
pub fn item_bytes(item: &RawItem) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(text) => number_bytes(text),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::M(fields) => 3 + fields.len() + item_bytes(fields),
        AttributeValue::L(values) => 3 + values.len() + values.iter().map(value_bytes).sum::<usize>(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Ns(numbers) => numbers.iter().map(|text| number_bytes(text)).sum(),
        AttributeValue::Bs(values) => values.iter().map(|bytes| bytes.as_ref().len()).sum(),
        _ => 1,
    }
}

fn number_bytes(text: &str) -> usize {
    let significant = text.trim_start_matches('-').trim_matches('0').bytes();
    let digits = significant.filter(u8::is_ascii_digit).count();
    digits.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
}

impl fmt::Display for OpenItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(self.table, &self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::seeds;

    const TABLE: TableName = TableName::UserFeatures;

    fn key() -> ItemKey {
        ItemKey::new("ns#1", "user_ratings").unwrap()
    }

    fn fields() -> Fields {
        let row = Fields::new().with_integer("a", -7).with_flag("b", true);
        let fields = Fields::new().with_text("text", "é").with_integer("n", 5).with_bytes("b", [1, 2, 3]);
        fields.with_float("f", 1.0 / 3.0).unwrap().with_row("row", row)
    }

    #[test]
    fn typed_values_come_back_as_they_were() {
        let integers =
            [0, 1, -1, i64::MIN.into(), i64::MAX.into(), MAX_NUMBER, -MAX_NUMBER, MAX_NUMBER + 1, i128::MIN];
        for number in integers {
            let item = Fields::new().with_integer("n", number).seal(TABLE, &key()).unwrap();
            let mut open = OpenItem::open(TABLE, item).unwrap();
            assert_eq!(open.integer("n").unwrap(), Some(number));
            open.finish().unwrap();
        }
        for number in [0.1, 1e308, -1e-308, f64::MIN_POSITIVE / 8.0, -5.0] {
            let item = Fields::new().with_float("f", number).unwrap().seal(TABLE, &key()).unwrap();
            let read = OpenItem::open(TABLE, item).unwrap().float("f").unwrap().unwrap();
            assert_eq!(read.to_bits(), number.to_bits());
        }
        let zero = Fields::new().with_float("f", -0.0).unwrap();
        assert_eq!(zero, Fields::new().with_float("f", 0.0).unwrap());
        let mut open = OpenItem::open(TABLE, fields().seal(TABLE, &key()).unwrap()).unwrap();
        assert_eq!(open.key(), &key());
        assert_eq!(open.text("text").unwrap().as_deref(), Some("é"));
        assert_eq!(open.number::<u8>("n").unwrap(), Some(5));
        assert_eq!(open.bytes("b").unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(open.float("f").unwrap(), Some(1.0 / 3.0));
        let mut row = open.row("row").unwrap().unwrap();
        assert_eq!((row.integer("a").unwrap(), row.flag("b").unwrap()), (Some(-7), Some(true)));
        assert_eq!((row.integer("a").unwrap(), open.text("nothing").unwrap()), (None, None));
        row.finish().unwrap();
        open.finish().unwrap();
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_by_name() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Fields::new().with_float("score", number).unwrap_err().field(), Some("score"));
        }
    }

    fn corrupt(item: RawItem) -> Error {
        let error = OpenItem::open(TABLE, item).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        error
    }

    #[test]
    fn every_damage_to_an_item_is_told_with_table_and_key() {
        let item = fields().seal(TABLE, &key()).unwrap();
        let seed = seeds::from_env("RECSTORE_SEED", 4);
        println!("RECSTORE_SEED={seed}");
        let mut random = seeds::Random::new(seed);
        let names: Vec<String> = {
            let mut names: Vec<_> = item.keys().cloned().collect();
            names.sort();
            names
        };
        for name in &names {
            let mut cut = item.clone();
            cut.remove(name);
            corrupt(cut);
        }
        for _ in 0..2_000 {
            let mut damaged = item.clone();
            let name = &names[random.below(names.len() as u64) as usize];
            let value = damaged.get_mut(name).unwrap();
            damage(value, &mut random);
            if damaged == item || name == FORMAT {
                continue;
            }
            let error = corrupt(damaged);
            if ![PARTITION, SORT].contains(&name.as_str()) {
                assert_eq!(error.object(), Some("user_features \"ns#1\" \"user_ratings\""));
            }
        }
        let mut more = item.clone();
        more.insert("x".to_owned(), AttributeValue::Bool(true));
        corrupt(more);
        // Right in itself, but of another table.
        let other = fields().seal(TableName::ItemFeatures, &key()).unwrap();
        corrupt(other);
    }

    fn damage(value: &mut AttributeValue, random: &mut seeds::Random) {
        match value {
            AttributeValue::S(text) => text.push('x'),
            AttributeValue::N(text) => text.push('0'),
            AttributeValue::B(bytes) => {
                let mut damaged = bytes.as_ref().to_vec();
                let at = random.below(damaged.len() as u64) as usize;
                damaged[at] ^= 1 << random.below(8);
                *bytes = Blob::new(damaged);
            }
            AttributeValue::Bool(flag) => *flag = !*flag,
            AttributeValue::M(fields) => {
                let name = if random.below(2) == 0 { "a" } else { "b" };
                damage(fields.get_mut(name).unwrap(), random);
            }
            _ => unreachable!("no such type is written"),
        }
    }

    #[test]
    fn a_newer_form_asks_for_a_newer_program_and_unknown_attributes_are_damage() {
        let mut newer = fields().seal(TABLE, &key()).unwrap();
        newer.insert(FORMAT.to_owned(), AttributeValue::N("2".to_owned()));
        assert_eq!(OpenItem::open(TABLE, newer).unwrap_err().kind(), ErrorKind::SchemaVersion);
        let open = OpenItem::open(TABLE, fields().seal(TABLE, &key()).unwrap()).unwrap();
        assert_eq!(open.finish().unwrap_err().kind(), ErrorKind::Corrupt);
        let mut open = OpenItem::open(TABLE, fields().seal(TABLE, &key()).unwrap()).unwrap();
        assert_eq!(open.text("n").unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(open.number::<u8>("text").unwrap_err().kind(), ErrorKind::Corrupt);
    }

    /// Items of the developer guide's rule, counted by hand.
    #[test]
    fn sizes_are_those_of_the_documented_rule() {
        let number = |text: &str| AttributeValue::N(text.to_owned());
        for (text, size) in
            [("0", 1), ("7", 2), ("-7", 3), ("10", 2), ("123", 3), ("1234500", 4), (&"9".repeat(38), 20)]
        {
            assert_eq!(value_bytes(&number(text)), size, "{text}");
        }
        let row = AttributeValue::M(HashMap::from([("ab".to_owned(), AttributeValue::Bool(true))]));
        let item = HashMap::from([
            ("pk".to_owned(), AttributeValue::S("é".to_owned())),
            ("b".to_owned(), AttributeValue::B(Blob::new([0; 10]))),
            ("m".to_owned(), row),
        ]);
        assert_eq!(item_bytes(&item), (2 + 2) + (1 + 10) + (1 + 3 + 1 + 2 + 1));
    }

    #[test]
    fn an_item_at_the_limit_is_sealed_and_one_byte_more_is_refused_by_the_name_of_its_largest_attribute() {
        let sealed = |bytes: usize| {
            Fields::new().with_integer("n", 1).with_bytes("large", vec![0; bytes]).seal(TABLE, &key())
        };
        let rest = item_bytes(&sealed(0).unwrap());
        let item = sealed(MAX_ITEM_BYTES - rest).unwrap();
        assert_eq!(item_bytes(&item), MAX_ITEM_BYTES);
        let error = sealed(MAX_ITEM_BYTES - rest + 1).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("large")));
    }

    /// A kept sample of form 1: later versions must read it.
    #[test]
    fn form_1_stays_readable() {
        let item = fields().seal(TABLE, &key()).unwrap();
        let checksum = item[CHECKSUM].as_b().unwrap().as_ref().to_vec();
        assert_eq!(checksum, SAMPLE);
    }

    const SAMPLE: [u8; 8] = [192, 179, 243, 180, 101, 244, 8, 178];
}
