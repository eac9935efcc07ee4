//! What a command took of services that charge for it, for people.

use recstore::Cost;

use crate::output::Count;

/// A line for each service that was asked, and one for its bytes or units.
pub fn pairs(cost: &Cost) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    let (objects, tables) = (&cost.objects, &cost.tables);
    if objects.requests() > 0 {
        let operations = [
            ("put", objects.puts),
            ("get", objects.gets),
            ("head", objects.heads),
            ("list", objects.lists),
            ("delete", objects.deletes),
        ];
        pairs.push(("S3 requests", counted(objects.requests(), &operations)));
        let (put, got) = (Count(objects.bytes_put), Count(objects.bytes_got));
        pairs.push(("S3 bytes", format!("{put} put, {got} got")));
    }
    if tables.requests() > 0 {
        let operations = [
            ("batch get", tables.batch_gets),
            ("batch write", tables.batch_writes),
            ("put", tables.puts),
            ("query", tables.queries),
        ];
        pairs.push(("DynamoDB requests", counted(tables.requests(), &operations)));
        pairs.push(("DynamoDB units", format!("{} read, {} written", tables.read_units, tables.write_units)));
    }
    pairs
}

/// All, and of which operations.
fn counted(all: u64, operations: &[(&str, u64)]) -> String {
    let some = operations.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = some.map(|(name, count)| format!("{} {name}", Count(*count))).collect();
    format!("{} ({})", Count(all), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use recstore::{ObjectCost, TableCost};

    use super::*;

    #[test]
    fn operations_that_were_not_asked_for_are_left_out() {
        let objects = ObjectCost { puts: 1200, lists: 3, bytes_put: 4096, ..ObjectCost::default() };
        let tables = TableCost { queries: 2, read_units: 1.5, ..TableCost::default() };
        let shown = pairs(&Cost { objects, tables });
        let shown: Vec<_> = shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("S3 requests", "1,203 (1,200 put, 3 list)"),
                ("S3 bytes", "4,096 put, 0 got"),
                ("DynamoDB requests", "2 (2 query)"),
                ("DynamoDB units", "1.5 read, 0 written"),
            ]
        );
        assert!(pairs(&Cost::default()).is_empty());
    }
}
