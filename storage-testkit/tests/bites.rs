//! The suite bites: each fault, seeded into a store that is right otherwise, is caught by a named behaviour,
//! and those that show in answers by the random scripts too.

mod faulty;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use faulty::Fault;
use recstore_core::{ManualClock, StoreContext, Timestamp};
use recstore_testkit::model::{Model, ModelOptions};
use recstore_testkit::suite::{Backend, Behaviour};

fn backend(fault: Fault) -> Backend {
    Backend::new(move |context| async move { (faulty::open(fault, context), ()) })
}

/// Whether a behaviour fails on a store with this fault.
fn catches(behaviour: Behaviour, fault: Fault) -> bool {
    catch_unwind(AssertUnwindSafe(|| behaviour.check(&backend(fault)))).is_err()
}

macro_rules! bites {
    ($($test:ident: $fault:ident by $($behaviour:literal),+;)+) => {
        $(#[test]
        fn $test() {
            for name in [$($behaviour),+] {
                let behaviour = Behaviour::named(name).expect("a behaviour of this name");
                assert!(!catches(behaviour, Fault::None), "{name} holds without a fault");
                assert!(catches(behaviour, Fault::$fault), "{name} does not see {:?}", Fault::$fault);
            }
        })+
    };
}

bites! {
    a_dropped_event_is_caught: DropsAnEvent by "ratings::the_same_events_again_change_nothing";
    another_order_of_answers_is_caught: AnswersInAnotherOrder by
        "ratings::answers_come_in_the_order_asked_and_a_repeated_pair_each_time";
    a_kept_stale_event_is_caught: KeepsTheStaleEvent by
        "ratings::the_newest_event_wins_and_an_older_one_is_stale",
        "ratings::every_order_of_the_same_events_in_single_puts_gives_the_same_state";
    a_forgotten_first_time_is_caught: ForgetsTheFirstTime by
        "ratings::the_earliest_time_of_a_pair_is_kept_whatever_wins";
    swallowed_withdrawals_are_caught: SwallowsWithdrawals by "ratings::a_withdrawn_pair_is_found_as_withdrawn";
    hidden_conflicts_are_caught: HidesConflicts by
        "ratings::a_reused_event_id_in_a_batch_is_reported_and_never_decides_state",
        "ratings::a_reused_event_id_of_the_current_row_is_reported_and_never_decides_state";
    half_of_a_bad_batch_is_caught: StoresHalfOfABadBatch by "ratings::one_bad_event_refuses_the_whole_batch";
    torn_batches_are_caught: TearsBatches by "concurrency::readers_never_see_half_of_a_batch";
    rounded_values_are_caught: RoundsValues by "ratings::values_are_kept_to_six_decimals";
    trimmed_ids_are_caught: TrimsIds by "ratings::ids_are_kept_as_given_and_never_confused";
    a_row_lost_between_pages_is_caught: SkipsARowBetweenPages by
        "histories::pages_of_every_size_join_to_the_whole_history";
    ignored_shards_are_caught: IgnoresShards by
        "histories::shards_are_disjoint_and_complete_and_each_in_order";
    shown_hidden_items_are_caught: ShowsHiddenItems by "hidden::hidden_items_never_come_back_from_a_read";
    erased_users_that_come_back_are_caught: LetsErasedUsersBack by
        "erasure::older_events_replayed_do_not_bring_an_erased_user_back";
    an_erasure_that_does_nothing_is_caught: ErasesNothing by
        "erasure::an_erased_user_is_gone_from_ratings_and_features",
        "erasure::an_erased_item_is_gone_from_every_release";
    a_lost_namespace_is_caught: LosesTheNamespace by
        "namespaces::the_same_ids_in_many_namespaces_are_different_things",
        "namespaces::a_new_namespace_is_empty";
    an_ignored_age_is_caught: IgnoresMaxAge by
        "custom::rows_older_than_the_age_asked_are_too_old_and_withheld";
    a_rollback_that_does_nothing_is_caught: RollsBackNothing by
        "similarities::rolling_back_makes_the_one_before_current";
    mixed_releases_are_caught: MixesReleases by
        "concurrency::readers_see_a_release_whole_while_another_is_promoted";
    ignored_deadlines_are_caught: IgnoresDeadlines by
        "storage::a_write_whose_deadline_passed_fails_and_stores_nothing";
    empty_fingerprints_are_caught: HashesNothing by "fingerprints::any_change_of_a_rating_shows";
    a_store_that_stays_open_is_caught: StaysOpen by
        "storage::after_closing_every_call_on_every_handle_is_closed";
    a_batch_torn_by_a_caller_that_leaves_is_caught: TearsWhenDropped by
        "cancellation::a_write_dropped_at_any_poll_is_done_whole_or_not_at_all_and_a_retry_resolves_it",
        "cancellation::writers_that_leave_do_not_disturb_their_neighbours";
    ties_broken_by_arrival_are_caught: BreaksTiesByArrival by
        "orders::all_720_orders_of_six_events_in_single_puts_agree",
        "orders::all_720_orders_of_six_events_in_one_batch_agree",
        "orders::all_720_orders_of_six_events_in_two_batches_agree",
        "ratings::of_equal_times_the_greater_event_id_wins";
    a_duplicate_that_fails_its_batch_is_caught: RefusesADuplicateInABatch by
        "ratings::a_reused_event_id_in_a_batch_is_reported_and_never_decides_state";
    duplicates_told_as_applied_are_caught: TellsDuplicatesAsApplied by
        "ratings::the_same_events_again_change_nothing";
    an_early_acknowledgement_is_caught: AcknowledgesEarly by
        "ratings::the_same_events_again_change_nothing",
        "cancellation::writers_that_leave_do_not_disturb_their_neighbours";
    folded_ids_are_caught: FoldsCase by
        "hostile::hostile_ids_in_hostile_namespaces_come_back_exactly_and_from_nowhere_else";
    cut_ids_are_caught: CutsLongIds by
        "hostile::hostile_ids_in_hostile_namespaces_come_back_exactly_and_from_nowhere_else",
        "hostile::erasing_hostile_ids_takes_only_those";
    merged_namespaces_are_caught: MergesNamespaces by
        "hostile::hostile_ids_in_hostile_namespaces_come_back_exactly_and_from_nowhere_else",
        "namespaces::the_same_ids_in_many_namespaces_are_different_things";
    features_that_drift_from_ratings_are_caught: CountsOneTooMany by
        "built_in::features_follow_replaced_and_withdrawn_ratings",
        "orders::all_720_orders_of_six_events_in_single_puts_agree";
}

/// What the random scripts say of a store with this fault, from a fixed seed.
fn scripts_on(fault: Fault) -> Result<(), String> {
    let start = Timestamp::from_seconds(1_704_067_200).map_err(|error| error.to_string())?;
    let clock = Arc::new(ManualClock::new(start));
    let context = StoreContext { clock: Arc::<ManualClock>::clone(&clock), ..StoreContext::default() };
    let mut model = Model::new(faulty::open(fault, context.clone()), context, clock);
    futures::FutureExt::now_or_never(model.run(ModelOptions { cases: 100, steps: 30, seed: 1 }))
        .unwrap_or_else(|| Err("a call waited".to_owned()))
}

#[test]
fn random_scripts_find_what_shows_in_answers() {
    assert_eq!(scripts_on(Fault::None), Ok(()));
    for fault in [
        Fault::DropsAnEvent,
        Fault::AnswersInAnotherOrder,
        Fault::KeepsTheStaleEvent,
        Fault::ForgetsTheFirstTime,
        Fault::SwallowsWithdrawals,
        Fault::HidesConflicts,
        Fault::RoundsValues,
        Fault::TrimsIds,
        Fault::SkipsARowBetweenPages,
        Fault::IgnoresShards,
        Fault::ShowsHiddenItems,
        Fault::LetsErasedUsersBack,
        Fault::ErasesNothing,
        Fault::LosesTheNamespace,
        Fault::IgnoresMaxAge,
        Fault::RollsBackNothing,
        Fault::HashesNothing,
        Fault::BreaksTiesByArrival,
        Fault::RefusesADuplicateInABatch,
        Fault::TellsDuplicatesAsApplied,
        Fault::AcknowledgesEarly,
        Fault::MergesNamespaces,
        Fault::CountsOneTooMany,
    ] {
        let difference = scripts_on(fault).expect_err(&format!("{fault:?} is found"));
        assert!(difference.contains("RECSTORE_PROPTEST_SEED="), "{difference}");
        let steps = difference.lines().filter(|line| line.starts_with("Step")).count();
        assert!((1..=8).contains(&steps), "{fault:?} is shown by a small script: {difference}");
    }
}
