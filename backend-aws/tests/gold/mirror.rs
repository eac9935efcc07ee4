//! What readers are told goes forward only, whoever tells it and however late.

use recstore_aws::online::mirror::Mirror;
use recstore_core::{ErrorKind, Namespace};

use crate::fake::{Fake, Random, Weather, run};
use crate::support::schedules;

fn mirror(revision: u64) -> Mirror {
    Mirror { revision, content: format!("of {revision}") }
}

#[test]
fn readers_are_never_told_of_something_older_than_what_was_acknowledged() {
    let (seed, schedules) = schedules(300);
    for number in 0..schedules {
        run(async {
            let mut random = Random::of_case(seed, number);
            let (fake, namespace) = (Fake::new(random.bits(), Weather::FOUL), Namespace::default());
            let mut tellers = tokio::task::JoinSet::new();
            for teller in 0..3 {
                let (online, mut random) = (fake.online(teller), Random::new(random.bits()));
                let namespace = namespace.clone();
                tellers.spawn(async move {
                    let mut told = 0;
                    for _ in 0..6 {
                        let next = mirror(1 + random.below(12) as u64);
                        if online.advance_mirror(&namespace, &next, None).await.is_ok() {
                            told = told.max(next.revision);
                            let Ok(seen) = online.read_mirror(&namespace, None).await else {
                                continue;
                            };
                            let seen = seen.unwrap();
                            assert!(seen.revision >= told, "schedule {number}: {seen:?} after {told}");
                            assert_eq!(seen, mirror(seen.revision), "schedule {number}");
                        }
                    }
                });
            }
            while let Some(ended) = tellers.join_next().await {
                ended.unwrap();
            }
        });
    }
}

#[test]
fn a_revision_has_one_content() {
    run(async {
        let (fake, namespace) = (Fake::new(1, Weather::default()), Namespace::default());
        let online = fake.online(1);
        assert_eq!(online.read_mirror(&namespace, None).await.unwrap(), None);
        assert!(online.advance_mirror(&namespace, &mirror(3), None).await.unwrap());
        assert!(!online.advance_mirror(&namespace, &mirror(3), None).await.unwrap());
        assert!(!online.advance_mirror(&namespace, &mirror(2), None).await.unwrap());
        let other = Mirror { revision: 3, content: "other".to_owned() };
        let error = online.advance_mirror(&namespace, &other, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(online.read_mirror(&namespace, None).await.unwrap(), Some(mirror(3)));
    });
}
