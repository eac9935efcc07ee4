//! The calls, counted: requests when they are sent, units and bytes when they are answered.

use std::sync::Arc;

use async_trait::async_trait;

use super::calls::{
    CallError, Condition, Conditional, DynamoCalls, GotBatch, Query, QueryPage, Write, WroteBatch,
};
use super::item::{RawItem, item_bytes, key_of};
use super::keys::ItemKey;
use crate::metering::{Figure, Meter};

/// Calls and their meter.
#[derive(Debug)]
pub(super) struct MeteredCalls {
    calls: Arc<dyn DynamoCalls>,
    meter: Arc<Meter>,
}

impl MeteredCalls {
    pub(super) fn new(calls: Arc<dyn DynamoCalls>, meter: Arc<Meter>) -> MeteredCalls {
        MeteredCalls { calls, meter }
    }
}

fn bytes_of<'a>(items: impl IntoIterator<Item = &'a RawItem>) -> u64 {
    items.into_iter().map(|item| item_bytes(item) as u64).sum()
}

#[async_trait]
impl DynamoCalls for MeteredCalls {
    async fn get_batch(&self, table: &str, keys: &[ItemKey]) -> Result<GotBatch, CallError> {
        self.meter.count(Figure::BatchGets, 1);
        let batch = self.calls.get_batch(table, keys).await?;
        self.meter.count_units(Figure::ReadHalves, batch.read_units);
        self.meter.count(Figure::ItemBytesRead, bytes_of(&batch.items));
        Ok(batch)
    }

    async fn write_batch(&self, table: &str, writes: &[Write]) -> Result<WroteBatch, CallError> {
        self.meter.count(Figure::BatchWrites, 1);
        let batch = self.calls.write_batch(table, writes).await?;
        self.meter.count_units(Figure::WriteHalves, batch.write_units);
        let is_written = |item: &&RawItem| key_of(item).is_none_or(|key| !batch.unprocessed.contains(&key));
        let puts = writes.iter().filter_map(|write| match write {
            Write::Put(item) => Some(item),
            Write::Delete(_) => None,
        });
        self.meter.count(Figure::ItemBytesWritten, bytes_of(puts.filter(is_written)));
        Ok(batch)
    }

    async fn put(
        &self,
        table: &str,
        item: &RawItem,
        condition: &Condition,
    ) -> Result<Conditional, CallError> {
        self.meter.count(Figure::ItemPuts, 1);
        let put = self.calls.put(table, item, condition).await?;
        if let Conditional::Done(units) = put {
            self.meter.count_units(Figure::WriteHalves, units);
            self.meter.count(Figure::ItemBytesWritten, bytes_of([item]));
        }
        Ok(put)
    }

    async fn query(&self, table: &str, query: &Query) -> Result<QueryPage, CallError> {
        self.meter.count(Figure::Queries, 1);
        let page = self.calls.query(table, query).await?;
        self.meter.count_units(Figure::ReadHalves, page.read_units);
        self.meter.count(Figure::ItemBytesRead, bytes_of(&page.items));
        Ok(page)
    }
}
