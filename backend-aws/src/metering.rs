//! Counts what both services charge for, in the one place that every request passes.
//!
//! Each count goes to the meter of its client, which [`stats`](recstore_core::Storage::stats) shows; to those of the pieces
//! of work that it belongs to ([`metered`]); and to the program's metrics, by the [`metrics`] facade, whose exporter is the
//! program's choice:
//!
//! | counter | label | values |
//! | --- | --- | --- |
//! | `recstore_s3_requests_total` | `operation` | `put`, `get`, `head`, `list`, `delete` |
//! | `recstore_s3_bytes_total` | `direction` | `put`, `got` |
//! | `recstore_dynamodb_requests_total` | `operation` | `batch_get`, `batch_write`, `put`, `query` |
//! | `recstore_dynamodb_half_units_total` | `kind` | `read`, `write` |
//! | `recstore_dynamodb_bytes_total` | `direction` | `read`, `written` |
//!
//! Capacity is counted in halves of a unit, for counters are whole numbers. Requests that make or look after the bucket and
//! the tables are not counted, nor those that the Delta library sends for checkpoints.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use recstore_core::{Cost, ObjectCost, TableCost};

/// A sort of thing that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    ObjectPuts,
    ObjectGets,
    ObjectHeads,
    ObjectLists,
    ObjectDeletes,
    ObjectBytesPut,
    ObjectBytesGot,
    BatchGets,
    BatchWrites,
    ItemPuts,
    Queries,
    ReadHalves,
    WriteHalves,
    ItemBytesRead,
    ItemBytesWritten,
}

/// How a figure is called: among the backend's figures, and as a counter with a label.
struct Names {
    figure: Figure,
    stats: &'static str,
    counter: &'static str,
    label: (&'static str, &'static str),
}

const FIGURES: usize = 15;

const NAMES: [Names; FIGURES] = {
    use Figure::*;
    const S3_REQUESTS: &str = "recstore_s3_requests_total";
    const S3_BYTES: &str = "recstore_s3_bytes_total";
    const TABLE_REQUESTS: &str = "recstore_dynamodb_requests_total";
    const TABLE_UNITS: &str = "recstore_dynamodb_half_units_total";
    const TABLE_BYTES: &str = "recstore_dynamodb_bytes_total";
    const fn row(
        figure: Figure,
        stats: &'static str,
        counter: &'static str,
        key: &'static str,
        value: &'static str,
    ) -> Names {
        Names { figure, stats, counter, label: (key, value) }
    }
    [
        row(ObjectPuts, "s3_puts", S3_REQUESTS, "operation", "put"),
        row(ObjectGets, "s3_gets", S3_REQUESTS, "operation", "get"),
        row(ObjectHeads, "s3_heads", S3_REQUESTS, "operation", "head"),
        row(ObjectLists, "s3_lists", S3_REQUESTS, "operation", "list"),
        row(ObjectDeletes, "s3_deletes", S3_REQUESTS, "operation", "delete"),
        row(ObjectBytesPut, "s3_bytes_put", S3_BYTES, "direction", "put"),
        row(ObjectBytesGot, "s3_bytes_got", S3_BYTES, "direction", "got"),
        row(BatchGets, "dynamodb_batch_gets", TABLE_REQUESTS, "operation", "batch_get"),
        row(BatchWrites, "dynamodb_batch_writes", TABLE_REQUESTS, "operation", "batch_write"),
        row(ItemPuts, "dynamodb_puts", TABLE_REQUESTS, "operation", "put"),
        row(Queries, "dynamodb_queries", TABLE_REQUESTS, "operation", "query"),
        row(ReadHalves, "dynamodb_read_half_units", TABLE_UNITS, "kind", "read"),
        row(WriteHalves, "dynamodb_write_half_units", TABLE_UNITS, "kind", "write"),
        row(ItemBytesRead, "dynamodb_bytes_read", TABLE_BYTES, "direction", "read"),
        row(ItemBytesWritten, "dynamodb_bytes_written", TABLE_BYTES, "direction", "written"),
    ]
};

/// What was counted so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    counts: [AtomicU64; FIGURES],
    /// That of the work around this one.
    around: Option<Arc<Meter>>,
}

tokio::task_local! {
    /// The meter of the work that this task is doing.
    static WORK: Arc<Meter>;
}

/// Does a piece of work and says what it took of both services, the work of others at the same time left out.
///
/// Counted is what the future itself does when it is polled, and nothing of tasks that it spawns. A batch of events is put
/// by the writer's task, together with those of others: its part is in the [receipt](recstore_core::PutReceipt::cost).
///
/// ```no_run
/// # async fn example(storage: &recstore_aws::AwsStorage) -> recstore_core::Result<()> {
/// use recstore_core::Storage;
///
/// let (fingerprints, cost) = recstore_aws::metered(storage.fingerprint(Default::default())).await;
/// println!("{:?} took {} bytes from S3", fingerprints?, cost.objects.bytes_got);
/// # Ok(())
/// # }
/// ```
pub async fn metered<T>(work: impl Future<Output = T>) -> (T, Cost) {
    let meter = Arc::new(Meter { around: WORK.try_with(Arc::clone).ok(), ..Meter::default() });
    let output = WORK.scope(meter.clone(), work).await;
    (output, meter.cost())
}

/// What the innermost [`metered`] work has taken so far; nothing outside of one.
pub(crate) fn so_far() -> Cost {
    WORK.try_with(|meter| meter.cost()).unwrap_or_default()
}

impl Meter {
    /// Counts for this client, the work that is being done, and the program.
    pub(crate) fn count(&self, figure: Figure, more: u64) {
        self.add(figure, more);
        // Outside of metered work there is no meter of it.
        let _ = WORK.try_with(|meter| {
            let mut meter = Some(meter);
            while let Some(inner) = meter {
                inner.add(figure, more);
                meter = inner.around.as_ref();
            }
        });
        let Names { counter, label: (key, value), .. } = NAMES[figure as usize];
        metrics::counter!(counter, key => value).increment(more);
    }

    /// Counts capacity.
    pub(crate) fn count_units(&self, halves: Figure, units: f64) {
        // The service tells multiples of a half.
        self.count(halves, (units * 2.0).round() as u64);
    }

    fn add(&self, figure: Figure, more: u64) {
        self.counts[figure as usize].fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self, figure: Figure) -> u64 {
        self.counts[figure as usize].load(Ordering::Relaxed)
    }

    /// What was counted, as a cost.
    pub(crate) fn cost(&self) -> Cost {
        let get = |figure| self.get(figure);
        Cost {
            objects: ObjectCost {
                puts: get(Figure::ObjectPuts),
                gets: get(Figure::ObjectGets),
                heads: get(Figure::ObjectHeads),
                lists: get(Figure::ObjectLists),
                deletes: get(Figure::ObjectDeletes),
                bytes_put: get(Figure::ObjectBytesPut),
                bytes_got: get(Figure::ObjectBytesGot),
            },
            tables: TableCost {
                batch_gets: get(Figure::BatchGets),
                batch_writes: get(Figure::BatchWrites),
                puts: get(Figure::ItemPuts),
                queries: get(Figure::Queries),
                read_units: get(Figure::ReadHalves) as f64 / 2.0,
                write_units: get(Figure::WriteHalves) as f64 / 2.0,
                bytes_read: get(Figure::ItemBytesRead),
                bytes_written: get(Figure::ItemBytesWritten),
            },
        }
    }
}

/// What several meters counted together, by the names of the backend's figures.
pub(crate) fn figures(meters: &[&Meter]) -> Vec<(&'static str, u64)> {
    let sum = |figure| meters.iter().map(|meter| meter.get(figure)).sum();
    NAMES.iter().map(|names| (names.stats, sum(names.figure))).collect()
}

/// Tells the program's metrics what each counter counts.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter};

    describe_counter!(
        "recstore_s3_requests_total",
        Unit::Count,
        "requests sent to S3, repeated ones included"
    );
    describe_counter!("recstore_s3_bytes_total", Unit::Bytes, "bytes of the objects put to and got from S3");
    describe_counter!("recstore_dynamodb_requests_total", Unit::Count, "requests sent to DynamoDB");
    describe_counter!(
        "recstore_dynamodb_half_units_total",
        Unit::Count,
        "halves of capacity units of DynamoDB"
    );
    describe_counter!("recstore_dynamodb_bytes_total", Unit::Bytes, "bytes of the items read and written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_own_row_and_names() {
        for (place, names) in NAMES.iter().enumerate() {
            assert_eq!(names.figure as usize, place, "{}", names.stats);
        }
        let mut shown: Vec<_> = NAMES.iter().map(|names| names.stats).collect();
        let mut counters: Vec<_> = NAMES.iter().map(|names| (names.counter, names.label)).collect();
        shown.sort_unstable();
        shown.dedup();
        counters.sort_unstable();
        counters.dedup();
        assert_eq!((shown.len(), counters.len()), (FIGURES, FIGURES));
    }

    #[tokio::test]
    async fn work_is_told_its_own_counts_and_those_of_the_work_within() {
        let meter = Meter::default();
        meter.count(Figure::ObjectPuts, 1);
        let outer = metered(async {
            meter.count(Figure::ObjectPuts, 10);
            let ((), inner) = metered(async {
                meter.count(Figure::ObjectPuts, 100);
                meter.count_units(Figure::ReadHalves, 1.5);
                assert_eq!(so_far().objects.puts, 100);
            })
            .await;
            assert_eq!((inner.objects.puts, inner.tables.read_units), (100, 1.5));
        });
        let beside = metered(async { meter.count(Figure::ObjectPuts, 1000) });
        let (((), outer), ((), beside)) = tokio::join!(outer, beside);
        assert_eq!((outer.objects.puts, outer.tables.read_units), (110, 1.5));
        assert_eq!(beside.objects.puts, 1000);
        assert_eq!(meter.cost().objects.puts, 1111);
        assert!(so_far().is_nothing());
    }

    #[test]
    fn figures_are_the_sum_of_all_meters() {
        let (one, other) = (Meter::default(), Meter::default());
        one.count(Figure::ObjectHeads, 2);
        other.count(Figure::ObjectHeads, 3);
        other.count_units(Figure::WriteHalves, 4.0);
        let figures = figures(&[&one, &other]);
        let of = |name: &str| figures.iter().find(|(found, _)| *found == name).unwrap().1;
        assert_eq!((of("s3_heads"), of("dynamodb_write_half_units"), of("s3_puts")), (5, 8, 0));
    }
}
