//! Checksums of rows: SQLite's pages have none, and a flipped bit in a value is another value.
//!
//! The checksum is a CRC-32 over a name of the table and every column, keys included: it tells any change of
//! up to 32 bits in a row and all but one in four thousand million others, also a row that stands under another
//! key. Each value is its type, then its eight bytes, or its length and its bytes, so that no two rows
//! are encoded alike. What is read often is checked in Rust; for all else the same is a function of SQL, by
//! which `validate` holds every row of every table against its checksum.
//!
//! A row that is gone altogether is not told by this, only by a look at the whole file.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

use recstore_core::Result;

use crate::error::{SqlResult, damaged};

/// The checksum of each table as SQL; its first argument is the name that goes in.
macro_rules! checksum_sql {
    (parameters) => {
        "checksum_of('parameters', name, value)"
    };
    (namespaces) => {
        "checksum_of('namespaces', id, name, ratings, withdrawn, releases)"
    };
    (entities) => {
        "checksum_of('entities', id, ns, kind, key, hash, hidden)"
    };
    (stats) => {
        "checksum_of('stats', id, rating_count, rating_stats)"
    };
    (ratings) => {
        "checksum_of('ratings', ns, user, item, value, rated_at, first_rated_at, event_id)"
    };
    (value_counts) => {
        "checksum_of('value_counts', entity, value, count)"
    };
    (feature_groups) => {
        "checksum_of('feature_groups', id, ns, name, kind, version, columns)"
    };
    (feature_columns) => {
        "checksum_of('feature_columns', grp, position, name, type, dim)"
    };
    (feature_rows) => {
        "checksum_of('feature_rows', grp, entity, event_time, content_hash, content)"
    };
    (releases) => {
        "checksum_of('releases', id, ns, name, kind, measure, k, min_common, shrinkage, created_at, sealed, \
         promotion, lists, neighbours)"
    };
    (neighbour_lists) => {
        "checksum_of('neighbour_lists', release, entity, neighbours)"
    };
    (popular) => {
        "checksum_of('popular', release, rank, entity, ratings)"
    };
    (tombstones) => {
        "checksum_of('tombstones', ns, kind, hash, erased_at, barred_until)"
    };
}
pub(crate) use checksum_sql;

/// A column of checksums, and what it must hold.
pub(crate) struct Sealed {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) checksum: &'static str,
}

macro_rules! sealed {
    ($($table:ident),*) => {
        &[
            Sealed { table: "entities", column: "stats_checksum", checksum: checksum_sql!(stats) },
            $(Sealed { table: stringify!($table), column: "checksum", checksum: checksum_sql!($table) }),*
        ]
    };
}

/// Every column of checksums.
pub(crate) const SEALED: &[Sealed] = sealed!(
    parameters,
    namespaces,
    entities,
    ratings,
    value_counts,
    feature_groups,
    feature_columns,
    feature_rows,
    releases,
    neighbour_lists,
    popular,
    tombstones
);

/// Makes `checksum_of` known to a connection.
pub(crate) fn register(connection: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    let checksum_of = |context: &rusqlite::functions::Context<'_>| {
        let mut checksum = Checksum::new();
        (0..context.len()).for_each(|column| checksum.value(context.get_raw(column)));
        Ok(checksum.end())
    };
    connection.create_scalar_function("checksum_of", -1, flags, checksum_of).sql()
}

/// # Errors
/// `Corrupt` unless a row, named by `what`, is `intact`.
pub(crate) fn hold(intact: bool, what: &str) -> Result<()> {
    if intact { Ok(()) } else { Err(damaged(format!("{what} is not what was stored"))) }
}

/// The checksum of a row of `ratings`. Rebuilds and builds of neighbours make it of every rating, and most of it was
/// gathering values: everything has its place but for what comes after the value, which may be missing.
pub(crate) fn of_rating(
    ns: i64,
    user: i64,
    item: i64,
    value: Option<i64>,
    rated_at: i64,
    first_rated_at: i64,
    event_id: &[u8; 16],
) -> i64 {
    const TABLE: &[u8; 16] = b"\x03\x07\0\0\0\0\0\0\0ratings";
    const ID_HEAD: &[u8; 9] = b"\x04\x10\0\0\0\0\0\0\0";
    let mut row = [0; 16 + 6 * 9 + 9 + 16];
    row[..16].copy_from_slice(TABLE);
    for (place, key) in [ns, user, item].into_iter().enumerate() {
        row[16 + place * 9..25 + place * 9].copy_from_slice(&encoded(1, key.to_le_bytes()));
    }
    if let Some(value) = value {
        row[43..52].copy_from_slice(&encoded(1, value.to_le_bytes()));
    }
    let after = if value.is_some() { 52 } else { 44 };
    let rest = &mut row[after..after + 43];
    rest[..9].copy_from_slice(&encoded(1, rated_at.to_le_bytes()));
    rest[9..18].copy_from_slice(&encoded(1, first_rated_at.to_le_bytes()));
    rest[18..27].copy_from_slice(ID_HEAD);
    rest[27..].copy_from_slice(event_id);
    i64::from(crc32fast::hash(&row[..after + 43]))
}

/// A number as it goes into a checksum.
#[inline]
fn encoded(kind: u8, bytes: [u8; 8]) -> [u8; 9] {
    let mut encoded = [kind; 9];
    encoded[1..].copy_from_slice(&bytes);
    encoded
}

/// The checksum of who a user or item is.
pub(crate) fn of_entity(id: i64, ns: i64, kind: i64, key: &str, hash: i64, hidden: bool) -> i64 {
    let mut checksum = Checksum::of("entities");
    checksum.integers(&[id, ns, kind]);
    checksum.value(ValueRef::Text(key.as_bytes()));
    checksum.integers(&[hash, i64::from(hidden)]);
    checksum.end()
}

/// The checksum of the statistics of a user or item.
pub(crate) fn of_stats(id: i64, rating_count: i64, rating_stats: Option<&[u8]>) -> i64 {
    let mut checksum = Checksum::of("stats");
    checksum.integers(&[id, rating_count]);
    checksum.value(rating_stats.map_or(ValueRef::Null, ValueRef::Blob));
    checksum.end()
}

/// The checksum of a row of `feature_rows`.
pub(crate) fn of_feature_row(
    grp: i64,
    entity: i64,
    event_time: i64,
    content_hash: &[u8],
    content: &[u8],
) -> i64 {
    let mut checksum = Checksum::of("feature_rows");
    checksum.integers(&[grp, entity, event_time]);
    checksum.value(ValueRef::Blob(content_hash));
    checksum.value(ValueRef::Blob(content));
    checksum.end()
}

/// The checksum of a row of `neighbour_lists`.
pub(crate) fn of_neighbours(release: i64, entity: i64, neighbours: &[u8]) -> i64 {
    let mut checksum = Checksum::of("neighbour_lists");
    checksum.integers(&[release, entity]);
    checksum.value(ValueRef::Blob(neighbours));
    checksum.end()
}

/// A checksum on the way. Short values are gathered, the CRC is fast on long input.
struct Checksum {
    crc: crc32fast::Hasher,
    gathered: [u8; 128],
    length: usize,
}

impl Checksum {
    fn new() -> Checksum {
        Checksum { crc: crc32fast::Hasher::new(), gathered: [0; 128], length: 0 }
    }

    fn of(table: &str) -> Checksum {
        let mut checksum = Checksum::new();
        checksum.value(ValueRef::Text(table.as_bytes()));
        checksum
    }

    fn integers(&mut self, values: &[i64]) {
        values.iter().for_each(|value| self.value(ValueRef::Integer(*value)));
    }

    fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.add(&[0]),
            ValueRef::Integer(number) => self.number(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.number(2, number.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => self.bytes(3, bytes),
            ValueRef::Blob(bytes) => self.bytes(4, bytes),
        }
    }

    fn number(&mut self, kind: u8, bytes: [u8; 8]) {
        let encoded = encoded(kind, bytes);
        if self.length + encoded.len() > self.gathered.len() {
            self.flush();
        }
        self.gathered[self.length..self.length + encoded.len()].copy_from_slice(&encoded);
        self.length += encoded.len();
    }

    fn bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.number(kind, (bytes.len() as u64).to_le_bytes());
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.length + bytes.len() > self.gathered.len() {
            self.flush();
        }
        if bytes.len() > self.gathered.len() {
            self.crc.update(bytes);
            return;
        }
        self.gathered[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn flush(&mut self) {
        self.crc.update(&self.gathered[..self.length]);
        self.length = 0;
    }

    fn end(mut self) -> i64 {
        self.flush();
        i64::from(self.crc.finalize())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]

    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn file() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        register(&connection).unwrap();
        connection.execute_batch(include_str!("../migrations/0001_initial.sql")).unwrap();
        connection
    }

    #[test]
    fn every_column_of_every_table_goes_into_a_checksum() {
        let connection = file();
        let select = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
        let mut select = connection.prepare(select).unwrap();
        let columns = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let columns: BTreeSet<(String, String)> = columns.map(|column| column.unwrap()).collect();
        let mut covered = BTreeSet::new();
        let mut names = BTreeMap::new();
        for sealed in SEALED {
            let arguments = sealed.checksum.trim_start_matches("checksum_of(").trim_end_matches(')');
            let mut arguments = arguments.split(", ");
            assert_eq!(names.insert(arguments.next(), ()), None, "two checksums are made alike");
            covered.insert((sealed.table.to_owned(), sealed.column.to_owned()));
            covered.extend(arguments.map(|column| (sealed.table.to_owned(), column.to_owned())));
        }
        assert_eq!(covered, columns);
    }

    #[test]
    fn checksums_are_the_same_in_rust_and_in_sql() {
        let connection = file();
        let long: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let key = "ü".repeat(200);
        let sql = |expression: &str| -> i64 {
            let sql = format!("SELECT {expression}");
            let values = rusqlite::params![&long[..], &long[..16], key];
            let mut select = connection.prepare(&sql).unwrap();
            let used = select.parameter_count();
            let values: Vec<_> = values[..used].to_vec();
            select.query_row(&values[..], |row| row.get(0)).unwrap()
        };
        let event_id: [u8; 16] = long[..16].try_into().unwrap();
        for value in [None, Some(-3_500_000)] {
            let text = value.map_or("NULL".to_owned(), |value| value.to_string());
            let rust = of_rating(1, 2, i64::MAX, value, 4, 5, &event_id);
            let expression = format!("checksum_of('ratings', 1, 2, {}, {text}, 4, 5, ?2)", i64::MAX);
            assert_eq!(rust, sql(&expression));
        }
        let hash = i64::MIN + 1;
        assert_eq!(
            of_entity(1, 2, 1, &key, hash, true),
            sql(&format!("checksum_of('entities', 1, 2, 1, ?3, {hash}, 1)"))
        );
        assert_eq!(of_stats(7, 0, None), sql("checksum_of('stats', 7, 0, NULL)"));
        assert_eq!(of_stats(7, 3, Some(&long)), sql("checksum_of('stats', 7, 3, ?1)"));
        assert_eq!(
            of_feature_row(1, 2, 3, &long[..16], &long),
            sql("checksum_of('feature_rows', 1, 2, 3, ?2, ?1)")
        );
        assert_eq!(of_neighbours(1, 2, &long), sql("checksum_of('neighbour_lists', 1, 2, ?1)"));
    }

    #[test]
    fn every_flipped_bit_of_a_rating_is_told_and_values_do_not_run_together() {
        let right = of_rating(1, 2, 3, Some(4), 5, 6, &[7; 16]);
        for bit in 0..64 {
            let flipped = |value: i64, wanted: bool| if wanted { value ^ (1 << bit) } else { value };
            for column in 0..6 {
                let of = |position, value| flipped(value, position == column);
                let other =
                    of_rating(of(0, 1), of(1, 2), of(2, 3), Some(of(3, 4)), of(4, 5), of(5, 6), &[7; 16]);
                assert_ne!(other, right, "bit {bit} of column {column}");
            }
        }
        assert_ne!(of_rating(1, 2, 3, None, 5, 6, &[7; 16]), right);
        assert_ne!(of_entity(1, 2, 0, "ab", 3, false), of_entity(1, 2, 0, "ba", 3, false));
        assert_ne!(of_stats(1, 0, None), of_stats(1, 0, Some(&[])));
    }
}
