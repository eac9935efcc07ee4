//! Puts by condition whose answers are lost.

use recstore_aws::online::pin::Pin;
use recstore_aws::online::tables::TableName;
use recstore_aws::online::versioned::Generation;
use recstore_core::{EntityKind, ErrorKind, Namespace, ReleaseId, Timestamp};

use crate::fake::{Fake, Random, Weather, run, schedules};

const KIND: EntityKind = EntityKind::Item;

fn release(name: &str) -> ReleaseId {
    ReleaseId::from_text(name)
}

fn pin(generation: u64) -> Pin {
    Pin {
        generation: Generation(generation),
        as_of: Timestamp::from_millis(1_000 * generation as i64).unwrap(),
    }
}

#[test]
fn a_put_whose_answer_was_lost_is_found_done_and_is_no_conflict() {
    run(async {
        let (fake, namespace) = (Fake::new(1, Weather::default()), Namespace::default());
        let online = fake.online(1);
        fake.lose_answers(1);
        let first = online.move_pointer(&namespace, KIND, None, &release("a"), "w1", None).await.unwrap();
        assert_eq!(first.sequence, 1);
        fake.lose_answers(3);
        let second = online.move_pointer(&namespace, KIND, Some(&first), &release("b"), "w2", None).await;
        let second = second.unwrap();
        assert_eq!(online.read_pointer(&namespace, KIND, None).await.unwrap(), Some(second.clone()));
        // The same call again, after its caller forgot that it was done.
        let again = online.move_pointer(&namespace, KIND, Some(&first), &release("b"), "w2", None).await;
        assert_eq!(again.unwrap(), second);
        // Another writer moves to the same release from the same place: that is a conflict.
        let other = online.move_pointer(&namespace, KIND, Some(&first), &release("b"), "w3", None).await;
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(online.read_pointer(&namespace, EntityKind::User, None).await.unwrap(), None);
    });
}

#[test]
fn a_move_that_others_have_followed_is_found_again_until_it_is_forgotten() {
    run(async {
        let (fake, namespace) = (Fake::new(7, Weather::default()), Namespace::default());
        let online = fake.online(7);
        let mut seen = None;
        for step in 0..20 {
            let writer = format!("w{step}");
            let to = release(&writer);
            let moved = online.move_pointer(&namespace, KIND, seen.as_ref(), &to, &writer, None);
            seen = Some(moved.await.unwrap());
            let again = online.move_pointer(&namespace, KIND, None, &release("w0"), "w0", None).await;
            match again {
                Ok(first) => assert!(step < 16 && first.sequence == 1, "after {step} moves"),
                Err(error) => assert!(step >= 16 && error.kind() == ErrorKind::OutcomeUnknown, "{error}"),
            }
        }
    });
}

#[test]
fn an_outcome_that_cannot_be_found_out_is_told_as_unknown_and_the_same_call_finds_out() {
    run(async {
        let (fake, namespace) = (Fake::new(2, Weather::default()), Namespace::default());
        let online = fake.online(2);
        fake.set_weather(Weather { stalled: 100, ..Weather::default() });
        let lost = online.move_pointer(&namespace, KIND, None, &release("a"), "w1", None).await;
        assert_eq!(lost.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        fake.set_weather(Weather { throttled: 100, ..Weather::default() });
        let refused = online.move_pointer(&namespace, KIND, None, &release("a"), "w2", None).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
        fake.set_weather(Weather::default());
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        let found = online.move_pointer(&namespace, KIND, None, &release("a"), "w1", None).await.unwrap();
        assert_eq!((found.release, found.sequence), (release("a"), 1));
    });
}

#[test]
fn of_writers_at_once_each_move_of_the_pointer_is_won_by_one_and_the_winner_knows() {
    let (seed, count) = schedules(1_000);
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let fake = Fake::new(random.bits(), Weather::FOUL);
        run(async {
            let writer = |name: u64| {
                let fake = &fake;
                async move {
                    let (online, namespace) = (fake.online(number ^ (name << 32)), Namespace::default());
                    let (mut moves, mut unknown) = (Vec::new(), 0);
                    for step in 0..4 {
                        let Ok(seen) = online.read_pointer(&namespace, KIND, None).await else {
                            continue;
                        };
                        let id = format!("{name}-{step}");
                        let to = release(&id);
                        let moved =
                            online.move_pointer(&namespace, KIND, seen.as_ref(), &to, &id, None).await;
                        match moved {
                            Ok(pointer) => moves.push(pointer),
                            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => unknown += 1,
                            Err(error) => assert!(
                                [ErrorKind::Conflict, ErrorKind::Busy, ErrorKind::Unavailable]
                                    .contains(&error.kind()),
                                "{error}"
                            ),
                        }
                    }
                    (moves, unknown)
                }
            };
            let results = futures::future::join_all((0..3).map(writer)).await;
            fake.set_weather(Weather::default());
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
            let last = fake.online(0).read_pointer(&Namespace::default(), KIND, None).await.unwrap();
            let last = last.map_or(0, |pointer| pointer.sequence);
            let mut won: Vec<u64> = results.iter().flat_map(|(moves, _)| moves).map(|p| p.sequence).collect();
            let unknown: u64 = results.iter().map(|(_, unknown)| unknown).sum();
            won.sort_unstable();
            let claimed = won.len() as u64;
            won.dedup();
            assert_eq!(won.len() as u64, claimed, "schedule {number}: one move was won twice: {results:?}");
            // Who was told nothing of its move may have won: none but those are missing.
            assert!(claimed <= last && last <= claimed + unknown, "schedule {number}: {last}, {results:?}");
        });
    }
}

#[test]
fn the_committed_generation_only_goes_forward() {
    let (seed, count) = schedules(1_000);
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let fake = Fake::new(random.bits(), Weather::FOUL);
        let orders: Vec<Vec<u64>> =
            (0..3).map(|_| (0..4).map(|_| 1 + random.below(6) as u64).collect()).collect();
        run(async {
            let writer = |name: usize| {
                let (fake, order) = (&fake, &orders[name]);
                async move {
                    let (online, namespace) = (fake.online(number + name as u64), Namespace::default());
                    let mut reached = 0;
                    for &generation in order {
                        let moved = online.advance_pin(&namespace, pin(generation), None).await;
                        if moved.is_ok() {
                            reached = reached.max(generation);
                        }
                        if let Ok(seen) = online.read_pin(&namespace, None).await {
                            assert!(
                                seen.generation.0 >= reached,
                                "schedule {number}: {seen:?} after {reached}"
                            );
                            assert!(seen == Pin::NOTHING || seen == pin(seen.generation.0));
                            reached = seen.generation.0;
                        }
                    }
                }
            };
            futures::future::join_all((0..3).map(writer)).await;
        });
    }
}

#[test]
fn a_generation_that_is_recorded_with_another_time_is_a_conflict() {
    run(async {
        let (fake, namespace) = (Fake::new(3, Weather::default()), Namespace::default());
        let online = fake.online(3);
        assert!(online.advance_pin(&namespace, pin(2), None).await.unwrap());
        assert!(!online.advance_pin(&namespace, pin(2), None).await.unwrap());
        assert!(!online.advance_pin(&namespace, pin(1), None).await.unwrap());
        let other = Pin { as_of: Timestamp::MIN, ..pin(2) };
        let error = online.advance_pin(&namespace, other, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(fake.items(TableName::Control).len(), 1);
        let cost = online.cost();
        assert!(cost.write_units > 0.0 && cost.bytes_written > 0 && cost.bytes_read > 0, "{cost:?}");
    });
}
