//! The feature store: built-in groups from what the pipeline published, custom groups as they were put.
//!
//! A batch of custom rows is stored in bronze first, which is its commit: it is durable as a whole, at once. Then its
//! rows become visible one by one, each put to DynamoDB on condition that it is newer. What is not put there, by a
//! failure or because the caller left, is `Accepted`, and the next pipeline run puts it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use recstore_core::features::{
    BuiltIn, check_batch_rows, decode_row, encode_row, item_ratings_schema, user_ratings_schema,
};
use recstore_core::{
    BatchBuilder, Cost, Deadline, Durability, EntityKey, EntityKind, Error, ErrorKind, FeatureBatch,
    FeatureName, FeatureRequest, FeatureRow, FeatureStore, GroupSchema, Origin, Outcome, PutOptions,
    PutReceipt, RebuildReport, Result, RowStatus, StoreContext, Timestamp,
};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::backend::AwsStorage;
use crate::lake::bronze::feature_line::FeatureLine;
use crate::lake::bronze::writer::BronzeWriter;
use crate::lake::head::{State, TombstoneKey, Tombstones};
use crate::lake::offload::offload;
use crate::metering::metered;
use crate::online::custom::CustomRow;
use crate::online::pin::Pin;

/// From so many rows on, a batch is checked away from the executor.
const MANY_ROWS: usize = 1_000;

/// Custom groups by name.
type Groups = BTreeMap<FeatureName, GroupSchema>;

/// What is kept of a namespace's custom groups.
#[derive(Debug)]
pub(crate) struct FeatureSpace {
    writer: OnceCell<BronzeWriter<FeatureLine>>,
    /// The groups as they were read last, and when. Reads of rows thus do without the head.
    groups: Mutex<Option<(Instant, Arc<Groups>)>>,
    max_age: Duration,
}

impl FeatureSpace {
    /// Nothing yet; groups are looked up again once they are older than `max_age`.
    pub(crate) fn new(max_age: Duration) -> FeatureSpace {
        FeatureSpace { writer: OnceCell::new(), groups: Mutex::new(None), max_age }
    }

    /// The groups, if they were read lately.
    fn recent_groups(&self) -> Option<Arc<Groups>> {
        let held = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|(at, _)| at.elapsed() <= self.max_age).map(|(_, groups)| groups.clone())
    }

    /// Takes groups over that were read after this time.
    fn remember(&self, read_after: Instant, groups: &Arc<Groups>) {
        let mut held = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(at, _)| *at <= read_after) {
            *held = Some((read_after, groups.clone()));
        }
    }

    /// Stores what waits to be stored; nothing can be put any more.
    pub(crate) async fn close(&self) {
        if let Some(writer) = self.writer.get() {
            writer.close().await;
        }
    }
}

#[async_trait]
impl FeatureStore for AwsStorage {
    async fn register_group(&self, schema: GroupSchema) -> Result<GroupSchema> {
        self.admit(None)?;
        schema.validate_custom()?;
        let begun = Instant::now();
        let change = self.space.heads.change(None, |before| {
            let wanted = schema.clone();
            async move { declare(before.state, wanted) }
        });
        let (committed, stored) = change.await?;
        self.space.features.remember(begun, &committed.state.groups);
        Ok(stored)
    }

    async fn groups(&self) -> Result<Vec<GroupSchema>> {
        let groups = self.read_groups(None).await?;
        let built_in = [user_ratings_schema(), item_ratings_schema()];
        Ok(built_in.into_iter().chain(groups.values().cloned()).collect())
    }

    async fn put_features(
        &self,
        group: &FeatureName,
        rows: Vec<FeatureRow>,
        options: PutOptions,
    ) -> Result<PutReceipt> {
        let (put, own) = metered(self.put_rows(group, rows, options)).await;
        let mut receipt = put?;
        receipt.cost += own;
        Ok(receipt)
    }

    async fn get_features(&self, request: FeatureRequest) -> Result<FeatureBatch> {
        self.admit(request.deadline)?;
        match BuiltIn::of(&request.group, self.shared.context.prior) {
            Some(built_in) => self.read_built_in(built_in, &request).await,
            None => self.read_custom(&request).await,
        }
    }

    async fn rebuild_features(&self) -> Result<RebuildReport> {
        self.rebuild_built_in().await
    }
}

impl AwsStorage {
    /// Stores and shows rows; the receipt has the cost of what the writer's task did.
    async fn put_rows(
        &self,
        group: &FeatureName,
        rows: Vec<FeatureRow>,
        options: PutOptions,
    ) -> Result<PutReceipt> {
        let state = self.snapshot(options.deadline).await?.state;
        let schema = custom_schema(&state.groups, group)?.clone();
        check_batch_rows(&rows)?;
        let (many, context) = (rows.len() >= MANY_ROWS, self.shared.context.clone());
        let of_group = schema.clone();
        let check = move || check_rows(&of_group, rows, &state.tombstones, &context);
        let Checked { mut outcomes, positions, lines, rows } = offload(many, check).await??;
        let mut cost = Cost::default();
        if !lines.is_empty() {
            let stored = self.feature_writer().await?.append(lines, options.deadline).await?;
            cost.objects = stored.map(|stored| stored.cost).unwrap_or_default();
            // The batch is stored: from here on nothing is an error.
            let found = self.show(&schema, rows, options.deadline).await;
            for (position, outcome) in positions.into_iter().zip(found) {
                outcomes[position] = outcome;
            }
        }
        let durability = Durability::ObjectStore;
        Ok(PutReceipt { outcomes, conflicts: Vec::new(), durability, cost })
    }

    /// The custom groups as they are committed.
    async fn read_groups(&self, deadline: Option<Deadline>) -> Result<Arc<Groups>> {
        let begun = Instant::now();
        let groups = self.snapshot(deadline).await?.state.groups;
        self.space.features.remember(begun, &groups);
        Ok(groups)
    }

    /// The writer of the namespace's custom rows, begun when it is first asked for.
    async fn feature_writer(&self) -> Result<&BronzeWriter<FeatureLine>> {
        let begin = || async { BronzeWriter::spawn_of_topic(self.writer_parts()) };
        self.space.features.writer.get_or_try_init(begin).await
    }

    /// Puts rows that are stored to DynamoDB and says what became of each. A row whose put failed is left to the next
    /// pipeline run.
    async fn show(
        &self,
        schema: &GroupSchema,
        rows: Vec<(EntityKey, CustomRow)>,
        deadline: Option<Deadline>,
    ) -> Vec<Outcome> {
        let count = rows.len();
        let (online, namespace) = (&self.shared.online, &self.space.namespace);
        let put = online.put_custom(namespace, schema.entity, &schema.name, rows, deadline).await;
        let left = |count: usize, error: &Error| {
            tracing::warn!(group = %schema.name, rows = count, %error, "rows are left to the next pipeline run");
        };
        match put {
            Ok(outcomes) => {
                let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                if let Some(Err(error)) = outcomes.iter().find(|outcome| outcome.is_err()) {
                    left(failed, error);
                }
                outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Accepted)).collect()
            }
            Err(error) => {
                left(count, &error);
                vec![Outcome::Accepted; count]
            }
        }
    }

    async fn read_built_in(&self, built_in: BuiltIn, request: &FeatureRequest) -> Result<FeatureBatch> {
        let mut batch = builder(built_in.schema(), request)?;
        if request.ids.is_empty() {
            return Ok(batch.finish());
        }
        let (online, namespace) = (&self.shared.online, &self.space.namespace);
        let read = self.read_pinned(request.deadline, |pin| {
            online.get_stats(namespace, built_in.entity, &request.ids, pin, request.deadline)
        });
        let (stats, pin) = read.await?;
        let found = self.status(pin.as_of, Origin::Published, request.max_age);
        for id in &request.ids {
            match of_id(&stats, id) {
                Ok(stats) => built_in.push(&mut batch, id.clone(), stats, found.clone()),
                Err(status) => batch.push_row(id.clone(), status),
            }
        }
        Ok(batch.finish())
    }

    async fn read_custom(&self, request: &FeatureRequest) -> Result<FeatureBatch> {
        // What groups that were read a while ago do not know, the committed ones may.
        let recent = self.space.features.recent_groups().filter(|groups| prepared(groups, request).is_ok());
        let mut groups = match recent {
            Some(groups) => groups,
            None => self.read_groups(request.deadline).await?,
        };
        let (schema, _) = prepared(&groups, request)?;
        let mut rows = self.custom_rows(schema, request).await?;
        let mut unfit = look_through(schema, &mut rows);
        if !unfit.is_empty() {
            // Rows of columns that were added since the groups were read.
            groups = self.read_groups(request.deadline).await?;
            unfit = look_through(custom_schema(&groups, &request.group)?, &mut rows);
        }
        rows.extend(unfit.into_iter().map(|(id, error)| (id, Err(error))));
        let (schema, mut batch) = prepared(&groups, request)?;
        for id in &request.ids {
            let (status, row) = match of_id(&rows, id) {
                Ok(Some(row)) => (self.status(row.event_time, Origin::Stored, request.max_age), Some(row)),
                Ok(None) => (RowStatus::Missing, None),
                Err(status) => (status, None),
            };
            let shown = row.filter(|_| status.is_found());
            batch.push_row(id.clone(), status);
            if let Some(row) = shown {
                decode_row(schema, &row.encoded, |position, value| batch.set(position, value))?;
            }
        }
        Ok(batch.finish())
    }

    async fn custom_rows(
        &self,
        schema: &GroupSchema,
        request: &FeatureRequest,
    ) -> Result<HashMap<EntityKey, Result<Option<CustomRow>>>> {
        if request.ids.is_empty() {
            return Ok(HashMap::new());
        }
        let (online, namespace, deadline) = (&self.shared.online, &self.space.namespace, request.deadline);
        let mut known = self.space.pins.knows_any();
        loop {
            let rows =
                online.get_custom(namespace, schema.entity, &schema.name, &request.ids, deadline).await?;
            // What is missing in tables that had a generation before they were read is missing indeed.
            if known || !rows.values().any(|row| matches!(row, Ok(None))) {
                return Ok(rows);
            }
            let pin = self.space.pins.current(deadline).await?;
            if pin == Pin::NOTHING && !self.were_filled(deadline).await? {
                return Ok(rows);
            }
            known = true;
        }
    }

    /// The status of a row that is there.
    fn status(&self, as_of: Timestamp, origin: Origin, max_age: Option<Duration>) -> RowStatus {
        let age = self.shared.context.clock.now().since(as_of);
        match max_age {
            Some(max_age) if age > max_age => RowStatus::TooOld { as_of },
            _ => RowStatus::Found { as_of, origin },
        }
    }
}

/// The state in which a group is declared, and how it is stored then.
fn declare(mut state: State, wanted: GroupSchema) -> Result<(Option<State>, GroupSchema)> {
    let stored = state.groups.get(&wanted.name);
    let schema = match stored {
        Some(stored) => stored.evolve(&wanted)?,
        None => GroupSchema { version: 1, ..wanted },
    };
    if stored == Some(&schema) {
        return Ok((None, schema));
    }
    Arc::make_mut(&mut state.groups).insert(schema.name.clone(), schema.clone());
    Ok((Some(state), schema))
}

fn custom_schema<'g>(groups: &'g Groups, name: &FeatureName) -> Result<&'g GroupSchema> {
    if GroupSchema::is_built_in(name) {
        let text = "is a built-in group, its rows come from the ratings";
        return Err(Error::invalid("group", text).on(format!("feature group {name}")));
    }
    groups.get(name).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "no such feature group").on(format!("feature group {name}"))
    })
}

/// A batch that was found right.
struct Checked {
    /// What is known so far: `Erased` for rows that are barred, `Accepted` for the others.
    outcomes: Vec<Outcome>,
    /// The positions of the others, ascending.
    positions: Vec<usize>,
    /// Their lines.
    lines: Vec<FeatureLine>,
    /// Their stored form.
    rows: Vec<(EntityKey, CustomRow)>,
}

fn check_rows(
    schema: &GroupSchema,
    rows: Vec<FeatureRow>,
    tombstones: &Tombstones,
    context: &StoreContext,
) -> Result<Checked> {
    let now = context.clock.now();
    let mut checked = Checked {
        outcomes: vec![Outcome::Accepted; rows.len()],
        positions: Vec::with_capacity(rows.len()),
        lines: Vec::with_capacity(rows.len()),
        rows: Vec::with_capacity(rows.len()),
    };
    for (position, row) in rows.into_iter().enumerate() {
        let in_row = |error: Error| error.in_field(format_args!("rows[{position}]"));
        context.limits.check_time("event_time", row.event_time, now).map_err(in_row)?;
        let encoded = encode_row(schema, &row.content).map_err(in_row)?;
        if is_barred(tombstones, context, schema.entity, &row) {
            checked.outcomes[position] = Outcome::Erased;
            continue;
        }
        checked.positions.push(position);
        checked.rows.push((row.id.clone(), CustomRow::new(row.event_time, encoded)));
        checked.lines.push(FeatureLine { group: schema.name.clone(), row });
    }
    Ok(checked)
}

/// Whether the entity of a row was erased, and the row is not of later than that.
pub(crate) fn is_barred(
    tombstones: &Tombstones,
    context: &StoreContext,
    kind: EntityKind,
    row: &FeatureRow,
) -> bool {
    if tombstones.is_empty() {
        return false;
    }
    let key = TombstoneKey(context.erasure_key.tombstone_of(kind, row.id.as_str()));
    tombstones.get(&key).is_some_and(|tombstone| row.event_time <= tombstone.barred_until)
}

fn builder(schema: &GroupSchema, request: &FeatureRequest) -> Result<BatchBuilder> {
    let projection = schema.projection(request.columns.as_deref())?;
    Ok(BatchBuilder::new(schema, &projection, request.ids.len()))
}

/// The group that is asked for, and the batch to be filled.
fn prepared<'g>(groups: &'g Groups, request: &FeatureRequest) -> Result<(&'g GroupSchema, BatchBuilder)> {
    let schema = custom_schema(groups, &request.group)?;
    Ok((schema, builder(schema, request)?))
}

/// Makes nothing of deletions, and says which rows are none of the group.
fn look_through(
    schema: &GroupSchema,
    rows: &mut HashMap<EntityKey, Result<Option<CustomRow>>>,
) -> Vec<(EntityKey, Error)> {
    let mut unfit = Vec::new();
    for (id, answer) in rows {
        let Ok(Some(row)) = answer else { continue };
        match decode_row(schema, &row.encoded, |_, _| ()) {
            Ok(true) => {}
            Ok(false) => *answer = Ok(None),
            Err(error) => unfit.push((id.clone(), error)),
        }
    }
    unfit
}

/// The answer for an id.
fn of_id<'r, R>(
    rows: &'r HashMap<EntityKey, Result<Option<R>>>,
    id: &EntityKey,
) -> Result<Option<&'r R>, RowStatus> {
    match rows.get(id) {
        Some(Ok(row)) => Ok(row.as_ref()),
        Some(Err(error)) => Err(failed(error)),
        None => Err(failed(&Error::new(ErrorKind::Internal, "there is no answer for a key"))),
    }
}

fn failed(error: &Error) -> RowStatus {
    RowStatus::Failed { kind: error.kind(), reason: error.to_string() }
}
