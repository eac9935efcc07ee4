//! Stores that ignore conditions are refused, and the probe leaves nothing behind.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use recstore_aws::config::RetryConfig;
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::retry::RetryPolicy;
use recstore_aws::setup::probe::conditional_writes;
use recstore_core::ErrorKind;
use recstore_test_cloud::{Action, Rule};

use crate::support::{Place, proxy, soon};

/// How a store breaks its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Honest,
    /// As Garage does.
    IgnoresEvery,
    IgnoresCreate,
    IgnoresMatch,
    /// As Ceph 16 does.
    RefusesEveryMatch,
    /// Says that a late create is refused, and stores it.
    RefusesAndStores,
    /// The answer of this put, counted from 1, is lost after it was done.
    LosesAnswer(usize),
}

#[derive(Debug)]
struct Store {
    habit: Habit,
    puts: AtomicUsize,
    within: InMemory,
}

impl Store {
    fn new(habit: Habit) -> Store {
        Store { habit, puts: AtomicUsize::new(0), within: InMemory::new() }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.habit)
    }
}

fn precondition(path: &Path) -> Error {
    Error::Precondition { path: path.to_string(), source: "412".into() }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, body: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let number = self.puts.fetch_add(1, Ordering::SeqCst) + 1;
        let (creates, matches) =
            (options.mode == PutMode::Create, matches!(options.mode, PutMode::Update(_)));
        let ignores = match self.habit {
            Habit::IgnoresEvery => true,
            Habit::IgnoresCreate => creates,
            Habit::IgnoresMatch => matches,
            _ => false,
        };
        if matches && self.habit == Habit::RefusesEveryMatch {
            return Err(precondition(path));
        }
        if creates && self.habit == Habit::RefusesAndStores && self.within.head(path).await.is_ok() {
            self.within.put(path, body).await?;
            return Err(precondition(path));
        }
        if ignores {
            options.mode = PutMode::Overwrite;
        }
        let answer = self.within.put_opts(path, body, options).await;
        if self.habit == Habit::LosesAnswer(number) {
            return Err(Error::Generic { store: "test", source: "connection lost".into() });
        }
        answer
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("no object is put in parts")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.within.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.within.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.within.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.within.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

fn policy() -> RetryPolicy {
    let config = RetryConfig { first_delay: Duration::from_millis(1), ..RetryConfig::default() };
    RetryPolicy::new(config, Duration::from_secs(5), 1)
}

/// What the probe says of a store; nothing is left in it.
async fn probed(habit: Habit) -> recstore_core::Result<()> {
    let store = Store::new(habit);
    let prefix = LakePrefix::new("lake").unwrap();
    let said = conditional_writes(&store, &prefix, &policy(), 7, soon()).await;
    let left: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    assert!(left.is_empty(), "{habit:?} leaves {left:?}");
    said
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_and_told_which() {
    probed(Habit::Honest).await.unwrap();
    for (habit, text) in [
        (Habit::IgnoresEvery, "ignores the condition If-None-Match: *"),
        (Habit::IgnoresCreate, "ignores the condition If-None-Match: *"),
        (Habit::RefusesAndStores, "ignores the condition If-None-Match: *"),
        (Habit::IgnoresMatch, "ignores the condition If-Match"),
        (Habit::RefusesEveryMatch, "refuses If-Match although it holds"),
    ] {
        let error = probed(habit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{habit:?}");
        assert!(error.message().contains(text), "{habit:?}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_after_any_put_changes_nothing_of_the_judgement() {
    for number in 1..=5 {
        probed(Habit::LosesAnswer(number)).await.unwrap();
    }
}

#[tokio::test]
async fn an_object_of_another_under_the_key_is_left_alone() {
    let (store, prefix) = (InMemory::new(), LakePrefix::new("").unwrap());
    let key = Path::from("probe/00000000000000000000000000000007");
    store.put(&key, "theirs".into()).await.unwrap();
    let error = conditional_writes(&store, &prefix, &policy(), 7, soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(key.as_ref())));
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_that_honours_conditions_passes_and_keeps_nothing() {
    let place = Place::new().await;
    let setup = place.made().await;
    setup.probe(1, soon()).await.unwrap();
    assert_eq!(place.objects().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn faults_on_the_way_do_not_make_a_good_server_a_bad_one() {
    let place = Place::new().await;
    place.made().await;
    for action in [Action::LoseAnswer, Action::conditional_request_conflict()] {
        for number in 1..=5 {
            let proxy = proxy();
            let setup = place.setup_behind(&proxy).await;
            let rule = Rule::s3(action.clone()).operation("PutObject").nth(number);
            let rule = proxy.add(&rule).unwrap();
            setup.probe(u128::from(number), soon()).await.unwrap();
            assert_eq!(proxy.fired(rule).unwrap(), 1, "{action:?} {number}");
        }
    }
    assert_eq!(place.objects().await, 0);
}
