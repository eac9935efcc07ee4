//! A consumer that loses nothing and doubles nothing, whenever it dies: put, then commit the offset.
//!
//! The log is a vector and dying is returning early, but the order of the steps is that of a consumer of Kafka
//! or of any other log with offsets.

use std::path::Path;

use recstore::{Config, Error, EventId, Outcome, PutOptions, Rating, Retry, Storage, Timestamp, UserId};

/// A record as it lies in the log: `user,item,stars`.
type Record = String;

/// What outlives the consumer: the log, the offset that was committed, and the records set aside.
struct Broker {
    log: Vec<Record>,
    committed: usize,
    dead_letters: Vec<(usize, String)>,
}

/// Where the consumer dies.
#[derive(Clone, Copy, PartialEq)]
enum Death {
    BeforePut,
    BetweenPutAndCommit,
}

const POLL: usize = 100;

/// Consumes until the log is at its end, or until it dies at the batch that begins at this offset.
async fn consume(broker: &mut Broker, store: &Path, death: Option<(usize, Death)>) -> recstore::Result<u64> {
    let mut config = Config::default();
    config.set("database.path", &store.to_string_lossy())?;
    let storage = recstore::open(&config).await?;
    let mut duplicates = 0;
    while broker.committed < broker.log.len() {
        let begin = broker.committed;
        let end = broker.log.len().min(begin + POLL);
        let mut events = Vec::with_capacity(POLL);
        for offset in begin..end {
            match event(offset, &broker.log[offset]) {
                Ok(event) => events.push(event),
                // Set aside before the commit: a record is in the store or among the dead letters, or comes
                // again. It can be set aside twice, so whoever reads them goes by the offset.
                Err(error) => broker.dead_letters.push((offset, error.to_string())),
            }
        }
        if death == Some((begin, Death::BeforePut)) {
            return Ok(duplicates);
        }
        duplicates += put(storage.as_ref(), &events).await?;
        if death == Some((begin, Death::BetweenPutAndCommit)) {
            return Ok(duplicates);
        }
        broker.committed = end;
    }
    storage.close().await?;
    Ok(duplicates)
}

/// The event of a record. Its identity is its place in the log, so a record that comes again is no new event.
fn event(offset: usize, record: &Record) -> recstore::Result<Rating> {
    let wrong = |what: &str| Error::invalid("record", format!("has no {what}"));
    let mut parts = record.split(',');
    let user: UserId = parts.next().ok_or_else(|| wrong("user"))?.parse()?;
    let item = parts.next().ok_or_else(|| wrong("item"))?.parse()?;
    let stars = parts.next().and_then(|stars| stars.parse().ok()).ok_or_else(|| wrong("stars"))?;
    let at = Timestamp::from_seconds(1_700_000_000 + offset as i64)?;
    Ok(Rating::new(user, item, stars, at)?.with_event_id(EventId::from_name(&format!("ratings/0/{offset}"))))
}

/// Stores a batch, however often it takes; returns how many events were there already.
async fn put(storage: &dyn Storage, events: &[Rating]) -> recstore::Result<u64> {
    loop {
        match storage.put_ratings(events.to_vec(), PutOptions::default()).await {
            Ok(receipt) => return Ok(receipt.count(Outcome::Duplicate) as u64),
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(error) => {
                eprintln!("{error}, trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("consumer.db");
    // 1,000 ratings of 100 users, each of another pair, and a record that is none.
    let mut log: Vec<Record> =
        (0..1000).map(|n| format!("user-{},item-{},{}", n % 100, n / 100, 1 + n % 5)).collect();
    log.insert(250, "user-1,item-1,many".to_owned());
    let records = log.len();
    let mut broker = Broker { log, committed: 0, dead_letters: Vec::new() };

    let mut duplicates = 0;
    for death in
        [(200, Death::BetweenPutAndCommit), (300, Death::BeforePut), (900, Death::BetweenPutAndCommit)]
    {
        duplicates += consume(&mut broker, &store, Some(death)).await?;
        println!("died at offset {}, committed up to {}", death.0, broker.committed);
    }
    duplicates += consume(&mut broker, &store, None).await?;

    let mut config = Config::default();
    config.set("database.path", &store.to_string_lossy())?;
    let storage = recstore::open(&config).await?;
    let stored = storage.count_ratings(recstore::GetOptions::default()).await?.ratings;
    storage.close().await?;
    broker.dead_letters.sort();
    broker.dead_letters.dedup();
    println!("{records} records: {stored} stored, {duplicates} delivered again and not counted twice");
    for (offset, reason) in &broker.dead_letters {
        println!("set aside: offset {offset}: {reason}");
    }
    assert_eq!(stored as usize + broker.dead_letters.len(), records, "lost or doubled");
    assert!(duplicates > 0, "nothing was delivered twice, so this showed nothing");
    Ok(())
}
