//! Making, checking and removing tables.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use recstore_aws::config::RetryConfig;
use recstore_aws::online::calls::{CallError, Conditional, Fault};
use recstore_aws::online::tables::{TableCalls, TableInfo, TableName, TableNames, TableStatus, Tables};
use recstore_aws::retry::RetryPolicy;
use recstore_core::{Deadline, ErrorKind};

use crate::fake::run;

/// Tables that take a few looks to change, at a service that throttles every third call.
#[derive(Debug, Default)]
struct Service {
    tables: Mutex<BTreeMap<String, (TableInfo, u32)>>,
    calls: Mutex<u32>,
    no_recovery: bool,
    /// How often recovery is still refused as too early.
    too_early: Mutex<u32>,
}

fn ours() -> Vec<(String, String, String)> {
    [("pk", "HASH"), ("sk", "RANGE")]
        .map(|(name, role)| (name.to_owned(), role.to_owned(), "S".to_owned()))
        .to_vec()
}

fn info(status: TableStatus) -> TableInfo {
    TableInfo { status, keys: ours(), items: 0, bytes: 0 }
}

impl Service {
    fn call(&self) -> Result<(), CallError> {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        match *calls % 3 {
            0 => Err(CallError::new(Fault::Throttled, ErrorKind::Busy, "throttled")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl TableCalls for Service {
    async fn describe(&self, table: &str) -> Result<Option<TableInfo>, CallError> {
        self.call()?;
        let mut tables = self.tables.lock().unwrap();
        let Some((info, looks)) = tables.get_mut(table) else { return Ok(None) };
        *looks = looks.saturating_sub(1);
        if *looks > 0 {
            return Ok(Some(info.clone()));
        }
        if info.status == TableStatus::Deleting {
            tables.remove(table);
            return Ok(None);
        }
        info.status = TableStatus::Active;
        Ok(Some(info.clone()))
    }

    async fn create(&self, table: &str) -> Result<Conditional, CallError> {
        self.call()?;
        let mut tables = self.tables.lock().unwrap();
        if tables.contains_key(table) {
            return Ok(Conditional::Refused);
        }
        tables.insert(table.to_owned(), (info(TableStatus::Changing), 3));
        Ok(Conditional::Done(0.0))
    }

    async fn remove(&self, table: &str) -> Result<Conditional, CallError> {
        self.call()?;
        let mut tables = self.tables.lock().unwrap();
        let Some(found) = tables.get_mut(table) else { return Ok(Conditional::Refused) };
        *found = (info(TableStatus::Deleting), 3);
        Ok(Conditional::Done(0.0))
    }

    async fn recovery(&self, _: &str) -> Result<Option<bool>, CallError> {
        self.call()?;
        Ok((!self.no_recovery).then_some(true))
    }

    async fn enable_recovery(&self, _: &str) -> Result<Option<bool>, CallError> {
        self.call()?;
        let mut left = self.too_early.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Ok(Some(false));
        }
        Ok((!self.no_recovery).then_some(true))
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new(RetryConfig::default(), Duration::from_secs(5), 1)
}

fn soon() -> Deadline {
    Deadline::at((tokio::time::Instant::now() + Duration::from_secs(60)).into_std())
}

#[test]
fn tables_are_made_once_found_again_and_removed() {
    run(async {
        let (service, names) = (Service::default(), TableNames::new("shop_").unwrap());
        let policy = policy();
        let tables = Tables::new(&service, &names, &policy);
        assert_eq!(tables.verify(soon()).await.unwrap_err().kind(), ErrorKind::NotFound);
        let (left, right) = futures::join!(tables.create_missing(soon()), tables.create_missing(soon()));
        for reports in [left.unwrap(), right.unwrap()] {
            assert_eq!(reports.len(), 6);
            assert!(reports.iter().all(|report| report.recovery && report.name.starts_with("shop_")));
        }
        tables.verify(soon()).await.unwrap();
        let again = tables.create_missing(soon()).await.unwrap();
        assert!(again.iter().all(|report| !report.created));
        assert_eq!(tables.remove_all(soon()).await.unwrap().len(), 6);
        assert!(service.tables.lock().unwrap().is_empty());
        assert_eq!(tables.remove_all(soon()).await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_table_of_that_name_with_other_keys_is_a_conflict_and_nothing_is_made_or_removed() {
    run(async {
        let mut foreign = ours();
        foreign[1].2 = "N".to_owned();
        for keys in [foreign, ours()[..1].to_vec()] {
            let (service, names) = (Service::default(), TableNames::new("").unwrap());
            let info = TableInfo { keys, ..info(TableStatus::Active) };
            service.tables.lock().unwrap().insert("control".to_owned(), (info, 0));
            let policy = policy();
            let tables = Tables::new(&service, &names, &policy);
            let error = tables.create_missing(soon()).await.unwrap_err();
            assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some("control")));
            assert_eq!(tables.remove_all(soon()).await.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(tables.verify(soon()).await.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(service.tables.lock().unwrap().len(), 1);
        }
    });
}

#[test]
fn recovery_that_is_refused_as_too_early_is_turned_on_later_or_ends_at_the_deadline() {
    run(async {
        let (service, names) = (Service::default(), TableNames::new("").unwrap());
        let policy = policy();
        let tables = Tables::new(&service, &names, &policy);
        *service.too_early.lock().unwrap() = 20;
        assert!(tables.create_missing(soon()).await.unwrap().iter().all(|report| report.recovery));
        assert_eq!(*service.too_early.lock().unwrap(), 0);
        *service.too_early.lock().unwrap() = u32::MAX;
        let error = tables.enable_recovery(TableName::Control, soon()).await.unwrap_err();
        assert_eq!((error.kind(), error.object()), (ErrorKind::DeadlineExceeded, Some("control")));
    });
}

#[test]
fn a_service_without_recovery_is_said_and_a_table_that_never_gets_ready_ends_at_the_deadline() {
    run(async {
        let service = Service { no_recovery: true, ..Service::default() };
        let names = TableNames::new("").unwrap();
        let policy = policy();
        let tables = Tables::new(&service, &names, &policy);
        assert!(tables.create_missing(soon()).await.unwrap().iter().all(|report| !report.recovery));
        let stuck = (info(TableStatus::Changing), u32::MAX);
        service.tables.lock().unwrap().insert(names.of(TableName::Control).to_owned(), stuck);
        let error = tables.create_missing(soon()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert_eq!(tables.verify(soon()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    });
}
