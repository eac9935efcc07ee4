//! Rows of a bucket of a custom group after new lines. No I/O.
//!
//! A line is fitted to the schema of its group first, which has to be read *after* the list of lines was made: a group is
//! declared before the first line of it is stored, so such a schema knows every line of the list.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use recstore_core::features::encode_row;
use recstore_core::{EntityKey, FeatureName, GroupSchema, Timestamp};
use serde::Serialize;

use crate::lake::bronze::feature_line::FeatureLine;
use crate::online::custom::CustomRow;

/// Whose row, and the row.
pub(crate) type Entry = (EntityKey, CustomRow);

/// Why a line that reads well is no row: it goes to quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub(crate) enum Unfit {
    /// There is no such group.
    UnknownGroup {
        /// Its name.
        group: FeatureName,
    },
    /// A value is not one of its column, or the row is too large.
    WrongValue {
        /// The column, or `row`.
        field: Cow<'static, str>,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::UnknownGroup { group } => write!(f, "no such feature group: {group}"),
            Unfit::WrongValue { field, problem } => write!(f, "{field}: {problem}"),
        }
    }
}

/// The group and the row of a line.
///
/// # Errors
/// Why it has none.
pub(crate) fn fit(
    groups: &BTreeMap<FeatureName, GroupSchema>,
    line: FeatureLine,
) -> Result<(&GroupSchema, Entry), Unfit> {
    let FeatureLine { group, row } = line;
    let Some(schema) = groups.get(&group) else { return Err(Unfit::UnknownGroup { group }) };
    let encoded = encode_row(schema, &row.content).map_err(|error| Unfit::WrongValue {
        field: error.field().map_or(Cow::Borrowed("row"), |field| Cow::Owned(field.to_owned())),
        problem: error.message().to_owned(),
    })?;
    Ok((schema, (row.id, CustomRow::new(row.event_time, encoded))))
}

/// A bucket after new rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    /// The rows, by id.
    pub(crate) rows: Vec<Entry>,
    /// Positions among them, ascending, of those that are new or replace another: what is to be published.
    pub(crate) changed: Vec<usize>,
    /// Whose row fell out because it is barred now, by id.
    pub(crate) erased: Vec<EntityKey>,
    /// New rows that are barred.
    pub(crate) barred: u64,
}

/// Folds new rows, in any order and any number of times, into the rows of a bucket: of each entity the one with the
/// greatest (event time, content hash) stays. Deletions are rows. Rows that `is_barred` bars, by their entity and event
/// time, are left out, old ones too.
pub(crate) fn fold(
    old: Vec<Entry>,
    new: impl IntoIterator<Item = Entry>,
    is_barred: impl Fn(&EntityKey, Timestamp) -> bool,
) -> Folded {
    let mut folded = Folded::default();
    // Each row with whether it is another than before.
    let mut rows: BTreeMap<EntityKey, (CustomRow, bool)> = BTreeMap::new();
    for (id, row) in old {
        if is_barred(&id, row.event_time) {
            folded.erased.push(id);
        } else {
            rows.insert(id, (row, false));
        }
    }
    folded.erased.sort_unstable();
    for (id, row) in new {
        if is_barred(&id, row.event_time) {
            folded.barred += 1;
        } else if rows.get(&id).is_none_or(|(stored, _)| stored.order() < row.order()) {
            rows.insert(id, (row, true));
        }
    }
    for (position, (id, (row, changed))) in rows.into_iter().enumerate() {
        folded.rows.push((id, row));
        if changed {
            folded.changed.push(position);
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recstore_core::features::MAX_ROW_BYTES;
    use recstore_core::{ColumnType, EntityKind, FeatureRow, FeatureValue};

    use super::*;

    fn name(text: &str) -> FeatureName {
        FeatureName::new(text).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn groups() -> BTreeMap<FeatureName, GroupSchema> {
        let schema = GroupSchema::new(name("profile"), EntityKind::User)
            .with_column(name("age"), ColumnType::Integer)
            .with_column(name("city"), ColumnType::Text);
        BTreeMap::from([(name("profile"), schema)])
    }

    fn line(group: &str, row: FeatureRow) -> FeatureLine {
        FeatureLine { group: name(group), row }
    }

    fn row(id: u8) -> FeatureRow {
        FeatureRow::new(EntityKey::new(id.to_string()).unwrap(), at(7))
    }

    /// A row of few ids, times and values, so that they meet.
    fn any_entry() -> impl Strategy<Value = Entry> {
        (0..4_u8, 0..5_i64, prop::option::of(0..3_i64)).prop_map(|(id, time, age)| {
            let id = EntityKey::new(id.to_string()).unwrap();
            let row = match age {
                Some(age) => FeatureRow::new(id, at(time)).with(name("age"), FeatureValue::Integer(age)),
                None => FeatureRow::deleted(id, at(time)),
            };
            let groups = groups();
            fit(&groups, line("profile", row)).unwrap().1
        })
    }

    fn barred(id: &EntityKey, time: Timestamp) -> bool {
        id.as_str() == "3" && time <= at(2)
    }

    proptest! {
        #[test]
        fn the_greatest_row_of_each_entity_stays_in_whatever_order_and_parts_they_come(
            (entries, shuffled) in prop::collection::vec(any_entry(), 0..30)
                .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = fold(Vec::new(), entries.clone(), barred);
            let mut expected: BTreeMap<EntityKey, CustomRow> = BTreeMap::new();
            for (id, row) in entries.iter().filter(|(id, row)| !barred(id, row.event_time)).cloned() {
                let greatest = expected.entry(id).or_insert_with(|| row.clone());
                if row.order() > greatest.order() {
                    *greatest = row;
                }
            }
            prop_assert_eq!(&whole.rows, &expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(whole.changed, (0..whole.rows.len()).collect::<Vec<_>>());

            let (first, second) = shuffled.split_at(cut.index(shuffled.len() + 1));
            let before = fold(Vec::new(), first.to_vec(), barred);
            let after = fold(before.rows.clone(), second.iter().chain(first).cloned(), barred);
            prop_assert_eq!(&after.rows, &whole.rows);
            let differs: Vec<usize> =
                (0..after.rows.len()).filter(|&at| !before.rows.contains(&after.rows[at])).collect();
            prop_assert_eq!(after.changed, differs);
            prop_assert_eq!(after.erased, Vec::new());
        }

        #[test]
        fn what_is_barred_falls_out_and_stays_out(entries in prop::collection::vec(any_entry(), 0..30)) {
            let before = fold(Vec::new(), entries.clone(), |_, _| false);
            let after = fold(before.rows.clone(), entries.clone(), barred);
            let fell: Vec<EntityKey> = before
                .rows
                .iter()
                .filter(|(id, row)| barred(id, row.event_time))
                .map(|(id, _)| id.clone())
                .collect();
            prop_assert_eq!(&after.erased, &fell);
            prop_assert_eq!(after.rows, fold(Vec::new(), entries.clone(), barred).rows);
            let out = entries.iter().filter(|(id, row)| barred(id, row.event_time)).count() as u64;
            prop_assert_eq!(after.barred, out);
        }
    }

    #[test]
    fn lines_that_fit_no_group_say_why() {
        let groups = groups();
        let unfit = |line| fit(&groups, line).unwrap_err().to_string();
        assert_eq!(unfit(line("nope", row(1))), "no such feature group: nope");
        let wrong = row(1).with(name("age"), FeatureValue::Float(1.0));
        assert_eq!(unfit(line("profile", wrong)), "age: is a float, the column holds integer");
        let unknown = row(1).with(name("height"), FeatureValue::Float(1.0));
        assert_eq!(
            unfit(line("profile", unknown)),
            "height: is no column of the group, there are: age, city"
        );
        let large = row(1).with(name("city"), FeatureValue::Text("x".repeat(MAX_ROW_BYTES)));
        assert!(unfit(line("profile", large)).starts_with("row: is over"));
        let json = serde_json::to_string(&fit(&groups, line("nope", row(1))).unwrap_err()).unwrap();
        assert_eq!(json, r#"{"reason":"unknown_group","group":"nope"}"#);
    }

    #[test]
    fn a_line_fits_as_the_row_that_was_put() {
        let groups = groups();
        let put = row(1).with(name("age"), FeatureValue::Integer(5));
        let (schema, (id, found)) = fit(&groups, line("profile", put.clone())).unwrap();
        assert_eq!((id, found.event_time), (put.id, put.event_time));
        assert_eq!(found, CustomRow::new(put.event_time, encode_row(schema, &put.content).unwrap()));
    }
}
