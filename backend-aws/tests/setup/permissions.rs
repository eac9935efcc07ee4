//! What is sent is what the policy of the role permits, neither more nor less.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use object_store::Attribute;
use recstore_aws::clients::AwsEnvironment;
use recstore_aws::config::{RetentionConfig, SilverRetention};
use recstore_aws::lake::bronze::object::{ClaimId, SealedObject};
use recstore_aws::lake::keys::BronzeKey;
use recstore_aws::online::client::client;
use recstore_aws::online::sdk::SdkCalls;
use recstore_aws::online::tables::TableNames;
use recstore_aws::online::{Online, OnlineOptions};
use recstore_aws::pipeline::VacuumOptions;
use recstore_aws::setup::Setup;
use recstore_aws::setup::roles::{Resource, Role};
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::{
    Clock, ColumnType, Entity, EntityKey, EntityKind, EraseOptions, FeatureName, FeatureRequest, FeatureRow,
    FeatureStore, FeatureValue, GetOptions, GroupSchema, HistoryOptions, ManualClock, Namespace, Neighbour,
    NeighbourList, NeighbourRequest, Popular, PutOptions, Rating, RatingStore, RatingValue, ReleaseSpec,
    SimilarityOptions, SimilarityStore, Storage, StoreContext, SystemClock, Timestamp,
};
use recstore_test_cloud::{Action, Proxy, Rule, RuleId};
use serde_json::Value;

use crate::support::{Place, environment, proxy, soon};

/// The roles that services have.
const SERVICES: [Role; 5] = [Role::Ingest, Role::Pipeline, Role::Serving, Role::Maintenance, Role::Migration];

const FOLDERS: [Resource; 5] =
    [Resource::Bronze, Resource::Silver, Resource::Gold, Resource::State, Resource::Quarantine];

/// The actions of a role's policy.
fn permitted(setup: &Setup, role: Role) -> BTreeSet<String> {
    let policy = setup.scope(Some("123456789012")).unwrap().policy(role);
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The actions of the operations that came, and where they were about.
fn sent_actions(proxy: &Proxy) -> (BTreeSet<String>, BTreeSet<String>) {
    let counts = proxy.counts().unwrap().0;
    let action = |operation: &str| match operation {
        "HeadBucket" | "ListObjectsV2" => "s3:ListBucket".to_owned(),
        "HeadObject" => "s3:GetObject".to_owned(),
        "DeleteObjects" => "s3:DeleteObject".to_owned(),
        "GetPublicAccessBlock" => "s3:GetBucketPublicAccessBlock".to_owned(),
        "PutPublicAccessBlock" => "s3:PutBucketPublicAccessBlock".to_owned(),
        "GetBucketEncryption" => "s3:GetEncryptionConfiguration".to_owned(),
        "PutBucketEncryption" => "s3:PutEncryptionConfiguration".to_owned(),
        "GetBucketLifecycleConfiguration" => "s3:GetLifecycleConfiguration".to_owned(),
        "PutBucketLifecycleConfiguration" => "s3:PutLifecycleConfiguration".to_owned(),
        "GetObject" | "PutObject" | "GetBucketPolicy" | "PutBucketPolicy" | "CreateBucket"
        | "DeleteBucket" => {
            format!("s3:{operation}")
        }
        other => format!("dynamodb:{other}"),
    };
    let actions = counts.iter().map(|count| action(&count.operation)).collect();
    (actions, counts.into_iter().map(|count| count.place).collect())
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_set_up_from_plan_to_teardown_sends_what_its_policy_permits() {
    let (place, proxy) = (Place::new().await, proxy());
    let setup = place.setup_behind(&proxy).await;
    setup.apply(&setup.plan(soon()).await.unwrap(), 1, soon()).await.unwrap();
    assert!(setup.doctor(Role::Setup, soon()).await.ok);
    setup.teardown(place.confirmation(), soon()).await.unwrap();
    let (actions, places) = sent_actions(&proxy);
    // A server that encrypts new buckets by itself, as S3 does, is not asked to.
    let mut expected = permitted(&setup, Role::Setup);
    expected.remove("s3:PutEncryptionConfiguration");
    assert_eq!(actions, expected);

    let scope = setup.scope(Some("123456789012")).unwrap().policy(Role::Setup);
    let resources = |statement: &Value| statement["Resource"].as_array().unwrap().clone();
    let resources = scope["Statement"].as_array().unwrap().iter().flat_map(resources);
    let named: BTreeSet<String> = resources
        .map(|resource| {
            let resource = resource.as_str().unwrap().rsplit(':').next().unwrap().to_owned();
            let bucket = resource.split_once('/').filter(|(first, _)| *first != "table");
            match (bucket, resource.strip_prefix("table/")) {
                (Some((bucket, _)), _) => bucket.to_owned(),
                (None, Some(table)) => table.to_owned(),
                (None, None) => resource,
            }
        })
        .collect();
    assert_eq!(places, named);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn the_doctor_of_a_role_only_reads_and_only_what_the_role_may() {
    let place = Place::new().await;
    place.made().await;
    for role in SERVICES {
        let proxy = proxy();
        let setup = place.setup_behind(&proxy).await;
        assert!(setup.doctor(role, soon()).await.ok, "{role}");
        let (mut actions, _) = sent_actions(&proxy);
        // To see whether the services answer; a refusal tells it too.
        assert!(actions.remove("dynamodb:DescribeTable") && actions.contains("s3:ListBucket"), "{role}");
        let mut permitted = permitted(&setup, role);
        let writes = ["s3:PutObject", "s3:DeleteObject", "dynamodb:PutItem", "dynamodb:BatchWriteItem"];
        permitted.retain(|action| !writes.contains(&action.as_str()));
        assert_eq!(actions, permitted, "{role}");
    }
}

/// A service behind a proxy of its own, which tells what was sent to which folder.
struct Service {
    role: Role,
    setup: Setup,
    proxy: Proxy,
    rules: Vec<(&'static str, Resource, RuleId)>,
    storage: AwsStorage,
}

impl Service {
    async fn new(place: &Place, role: Role, claim: u128) -> Service {
        let proxy = proxy();
        let folder =
            |resource: Resource| format!("/{}/lake/one/{}/", place.bucket(), resource.folder().unwrap());
        if role == Role::Ingest {
            // The put is repeated, and the object that is there already has to be looked at.
            proxy.add(&Rule::s3(Action::LoseAnswer).operation("PutObject").first(1)).unwrap();
        }
        let quarantined = Rule::s3(Action::LoseAnswer).operation("PutObject");
        proxy.add(&quarantined.path_prefix(&folder(Resource::Quarantine)).first(1)).unwrap();
        let mut rules = Vec::new();
        for resource in FOLDERS {
            let path = folder(resource);
            for (operation, action) in
                [("GetObject", "s3:GetObject"), ("HeadObject", "s3:GetObject"), ("PutObject", "s3:PutObject")]
            {
                let rule = Rule::s3(Action::Delay { millis: 0 }).operation(operation).path_prefix(&path);
                rules.push((action, resource, proxy.add(&rule).unwrap()));
            }
            // Deletions name their objects in the body.
            let key = format!("<Key>lake/one/{}/", resource.folder().unwrap());
            let deletion =
                Rule::s3(Action::Delay { millis: 0 }).operation("DeleteObjects").body_contains(&key);
            rules.push(("s3:DeleteObject", resource, proxy.add(&deletion).unwrap()));
        }
        let mut config = place.config.clone();
        config.s3.endpoint_url = Some(proxy.s3_endpoint().to_owned());
        config.dynamodb.endpoint_url = Some(proxy.dynamodb_endpoint().to_owned());
        let mut context = StoreContext::default();
        if role == Role::Maintenance {
            // Nothing is kept for being young, or for being one of the last.
            let silver = SilverRetention { generations: 1, age: Duration::ZERO };
            let bronze = Some(Duration::from_secs(24 * 3600));
            config.pipeline.retention = RetentionConfig { silver, bronze, ..RetentionConfig::default() };
            context.clock = Arc::new(ManualClock::new(Timestamp::parse("2090-01-01T00:00:00Z").unwrap()));
        }
        let environment: AwsEnvironment = environment(None, Arc::new(SystemClock)).await;
        let calls = SdkCalls::new(client(environment.sdk(), &config).unwrap());
        let names = TableNames::new(&config.dynamodb.table_prefix).unwrap();
        let parts = AwsParts {
            lake: environment.lake(&config, 1).unwrap(),
            online: Online::new(Arc::new(calls), names, OnlineOptions::default()),
            config,
            context,
            claim,
        };
        let storage = AwsStorage::new(parts, Namespace::default()).unwrap();
        let setup = place.setup_behind(&proxy).await;
        Service { role, setup, proxy, rules, storage }
    }

    /// Holds what was sent against the policy; `unsent` is what cannot be made to be sent here.
    fn check(&self, unsent: &[(&str, Resource)]) {
        let mut sent: BTreeSet<(&str, Resource)> = self
            .rules
            .iter()
            .filter(|(_, _, rule)| self.proxy.fired(*rule).unwrap() > 0)
            .map(|(action, resource, _)| (*action, *resource))
            .collect();
        let (actions, _) = sent_actions(&self.proxy);
        for action in actions.iter().filter(|action| !action.starts_with("s3:")) {
            sent.insert((action, Resource::Tables));
        }
        if actions.contains("s3:ListBucket") {
            sent.insert(("s3:ListBucket", Resource::Bucket));
        }
        let named: BTreeSet<String> = sent.iter().map(|(action, _)| (*action).to_owned()).collect();
        assert_eq!(actions, named, "{}: nothing was sent outside of the lake", self.role);
        assert!(named.is_subset(&permitted(&self.setup, self.role)), "{}", self.role);
        let mut expected: BTreeSet<_> = self.role.calls().map(|call| (call.action, call.resource)).collect();
        for unsent in unsent {
            assert!(expected.remove(unsent), "{}: {unsent:?} is not permitted", self.role);
        }
        assert_eq!(sent, expected, "{}", self.role);
    }
}

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn key(text: &str) -> EntityKey {
    EntityKey::new(text).unwrap()
}

async fn release(store: &AwsStorage) {
    let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
    let release = store.begin_release(spec).await.unwrap();
    let neighbours = vec![Neighbour { id: key("2"), similarity: 0.5, common: 3 }];
    let lists = vec![NeighbourList { id: key("1"), neighbours }];
    store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    store.seal_release(&release, vec![Popular { id: key("1"), ratings: 2 }]).await.unwrap();
    store.promote_release(&release).await.unwrap();
}

async fn register(store: &AwsStorage) {
    let group =
        GroupSchema::new(name("profile"), EntityKind::User).with_column(name("age"), ColumnType::Integer);
    store.register_group(group).await.unwrap();
}

async fn ingest(store: &AwsStorage) {
    // As opening does, which takes its credentials from the process.
    assert!(store.health().await.unwrap().ok);
    let now = SystemClock.now();
    let half = RatingValue::new(2.5).unwrap();
    let rating = |user: u64, item: u64| Rating::from_parts(user.into(), item.into(), Some(half), now, None);
    store.put_ratings(vec![rating(1, 1), rating(1, 2), rating(2, 1)], PutOptions::default()).await.unwrap();
    let row = FeatureRow::new(key("1"), now).with(name("age"), FeatureValue::Integer(7));
    store.put_features(&name("profile"), vec![row], PutOptions::default()).await.unwrap();
}

async fn publish(store: &AwsStorage) {
    store.refresh().await.unwrap();
    release(store).await;
    store.fingerprint(GetOptions::default()).await.unwrap();
}

async fn serve(store: &AwsStorage) {
    assert!(store.health().await.unwrap().ok);
    let pairs = [(1_u64.into(), 1_u64.into())];
    assert_eq!(store.get_ratings(&pairs, GetOptions::default()).await.unwrap().len(), 1);
    let history = store.user_history(&1_u64.into(), HistoryOptions::default()).await.unwrap();
    assert_eq!(history.rows.len(), 2);
    let request = FeatureRequest::new(name("profile"), vec![key("1")]);
    assert_eq!(store.get_features(request).await.unwrap().len(), 1);
    let request = NeighbourRequest::new(EntityKind::Item, vec![key("1")]);
    assert_eq!(store.get_neighbours(request).await.unwrap().lists.len(), 1);
    let popular = store.get_popular(EntityKind::Item, 1, GetOptions::default()).await.unwrap();
    assert_eq!(popular.len(), 1);
}

async fn erase(store: &AwsStorage) {
    let entity = Entity { kind: EntityKind::User, key: key("1") };
    store.erase(&entity, EraseOptions::default()).await.unwrap();
}

/// Puts a line that is no event into bronze, as another program may.
async fn put_nonsense(place: &Place) {
    let key = "bronze/v1/ns=default/ratings/writer=other/epoch=0000000001/dt=2024-01-15/\
               00000000000000000000-00000000000000000000.jsonl.zst";
    let key: BronzeKey = key.parse().unwrap();
    let object = SealedObject::seal(key, ClaimId::from_random(9), b"nonsense\n").unwrap();
    let put = place.s3.put_object().bucket(place.bucket()).key(format!("lake/one/{}", object.key()));
    let metadata = object.attributes().iter().filter_map(|(attribute, value)| match attribute {
        Attribute::Metadata(name) => Some((name.to_string(), value.to_string())),
        _ => None,
    });
    let put = metadata.fold(put, |put, (name, value)| put.metadata(name, value));
    put.body(ByteStream::from(object.body().clone())).send().await.unwrap();
}

async fn vacuum(store: &AwsStorage) {
    assert!(store.health().await.unwrap().ok);
    let report = store.pipeline().vacuum(VacuumOptions { dry_run: false }).await.unwrap();
    assert_eq!(report.cost.objects.deletes, report.objects(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn services_send_what_their_policies_permit_in_each_folder_and_all_of_it() {
    let place = Place::new().await;
    place.made().await;
    let ingesting = Service::new(&place, Role::Ingest, 1).await;
    let pipeline = Service::new(&place, Role::Pipeline, 2).await;
    let serving = Service::new(&place, Role::Serving, 3).await;
    let maintenance = Service::new(&place, Role::Maintenance, 4).await;
    register(&pipeline.storage).await;
    // Twice: the last object of an epoch is never deleted.
    ingest(&ingesting.storage).await;
    ingest(&ingesting.storage).await;
    put_nonsense(&place).await;
    publish(&pipeline.storage).await;
    serve(&serving.storage).await;
    erase(&pipeline.storage).await;
    assert!(!pipeline.storage.pipeline().compact().await.unwrap().checkpoints.is_empty());
    vacuum(&maintenance.storage).await;
    ingesting.storage.close().await.unwrap();

    ingesting.check(&[]);
    pipeline.check(&[]);
    // It lists nothing: the permission is for being told what is absent.
    serving.check(&[("s3:ListBucket", Resource::Bucket)]);
    maintenance.check(&[]);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn whoever_moves_data_in_and_out_sends_what_the_policy_of_migration_permits_and_all_of_it() {
    let place = Place::new().await;
    place.made().await;
    let migration = Service::new(&place, Role::Migration, 1).await;
    let store = &migration.storage;
    register(store).await;
    ingest(store).await;
    put_nonsense(&place).await;
    publish(store).await;
    serve(store).await;
    migration.check(&[]);
}
