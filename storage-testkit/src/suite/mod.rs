//! The conformance suite: every sentence of the traits' contracts as a test of that name.
//!
//! [`conformance!`](crate::conformance) turns the suite into tests of one backend, a test for each behaviour.
//! The list of behaviours stands once, in this file, and a behaviour that is not on it does not compile
//! without a warning, so none can be forgotten.
//!
//! - `harness`: how the suite opens stores of the backend under test.
//! - `space`: one namespace of the store under test.
//! - `words`: the short words that behaviours are written in.
//! - The other modules hold behaviours, one subject each.

// The suite is test code that lives in a library: a failed expectation is a panic, as in any test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod built_in;
mod cancellation;
mod concurrency;
mod custom;
mod erasure;
mod fingerprints;
mod harness;
mod hidden;
mod histories;
mod hostile;
mod model;
mod namespaces;
mod orders;
mod ratings;
mod reopening;
mod similarities;
mod space;
mod storage;
mod words;

use futures::future::LocalBoxFuture;

pub use harness::{Backend, Harness};

/// One behaviour that every backend must show.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// Subject and behaviour: `ratings::the_same_events_again_change_nothing`.
    pub name: &'static str,
    /// Whether it needs a backend that can be reopened.
    pub needs_reopening: bool,
    run: for<'a> fn(&'a Harness) -> LocalBoxFuture<'a, ()>,
}

impl Behaviour {
    /// Every behaviour, by subject.
    pub fn all() -> Vec<Behaviour> {
        crate::__conformance_list!(__conformance_table,)
    }

    /// The behaviour of this name.
    pub fn named(name: &str) -> Option<Behaviour> {
        Behaviour::all().into_iter().find(|behaviour| behaviour.name == name)
    }

    /// Holds the behaviour against a new, empty store of `backend`.
    ///
    /// # Panics
    /// If the backend does not show it.
    pub fn check(self, backend: &Backend) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be started").block_on(async {
            let harness = backend.harness().await;
            (self.run)(&harness).await;
        });
    }
}

/// Holds one behaviour by name; what the tests of [`conformance!`](crate::conformance) call.
#[doc(hidden)]
pub fn check(name: &str, backend: &Backend) {
    Behaviour::named(name).unwrap_or_else(|| panic!("no behaviour {name}")).check(backend);
}

/// Makes a test of every behaviour of the conformance suite for one backend.
///
/// The argument opens an *empty* store: called with a [`StoreContext`](recstore_core::StoreContext), it
/// returns a future of the store (`Arc<dyn Storage>`) and a guard that lives as long as the test: a temporary
/// folder, or `()`. The clock of the context is one that the suite moves, so the store must take its time
/// from there.
///
/// A backend whose data outlives the handle also says how to `reopen` the medium that a guard stands for;
/// without that the tests that need it show as ignored.
///
/// Some behaviours are held in very many cases: all orders of events, hostile ids, calls dropped at any poll, random
/// scripts. For a backend that is far away `exhaustive: "why not"` shows them as ignored; `--include-ignored` runs them.
///
/// The crate that calls it needs no runtime of its own. See the [crate's documentation](crate) for an example.
#[macro_export]
macro_rules! conformance {
    ($open:expr $(,)?) => {
        $crate::__conformance_list!(__conformance_tests, {
            backend: ($crate::suite::Backend::new($open)),
            exhaustive: [],
            reopening: [#[ignore = "needs a backend that can be reopened"]]
        });
    };
    ($open:expr, reopen: $reopen:expr $(, exhaustive: $why_not:literal)? $(,)?) => {
        $crate::__conformance_list!(__conformance_tests, {
            backend: ($crate::suite::Backend::durable($open, $reopen)),
            exhaustive: [$(#[ignore = $why_not])?],
            reopening: []
        });
    };
}

/// The list of all behaviours; `$callback` gets it.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    ($callback:ident, $($arguments:tt)*) => {
        $crate::$callback! {
            [$($arguments)*]
            always {
                ratings {
                    the_same_events_again_change_nothing
                    the_newest_event_wins_and_an_older_one_is_stale
                    of_equal_times_the_greater_event_id_wins
                    of_equal_times_and_ids_a_withdrawal_wins_then_the_greater_value
                    every_order_of_the_same_events_in_single_puts_gives_the_same_state
                    every_order_of_the_same_events_in_one_batch_gives_the_same_state
                    the_earliest_time_of_a_pair_is_kept_whatever_wins
                    a_reused_event_id_in_a_batch_is_reported_and_never_decides_state
                    a_reused_event_id_of_the_current_row_is_reported_and_never_decides_state
                    the_same_event_id_in_another_pair_is_no_conflict
                    outcomes_are_told_in_the_order_given
                    one_bad_event_refuses_the_whole_batch
                    events_too_far_ahead_are_refused_until_the_clock_has_moved
                    a_batch_over_the_limit_is_refused_and_nothing_is_stored
                    a_large_batch_is_divided_by_the_store_and_stored_whole
                    answers_come_in_the_order_asked_and_a_repeated_pair_each_time
                    many_pairs_are_answered_in_one_call
                    unknown_pairs_are_missing
                    empty_input_gives_an_empty_answer
                    a_withdrawn_pair_is_found_as_withdrawn
                    a_withdrawal_of_what_was_never_rated_is_a_row
                    values_are_kept_to_six_decimals
                    times_and_event_ids_are_kept_exactly
                    ids_are_kept_as_given_and_never_confused
                    a_found_row_says_how_fresh_it_is_and_where_it_comes_from
                    a_receipt_says_how_the_batch_is_kept
                    counts_tell_ratings_and_withdrawn_rows_apart
                }
                histories {
                    a_history_is_newest_first_by_time_event_id_and_other_id
                    pages_of_every_size_join_to_the_whole_history
                    pages_join_among_hostile_ids_of_equal_time
                    a_token_kept_as_text_goes_on_where_the_page_ended
                    a_token_stays_valid_while_events_come_in
                    a_foreign_token_is_refused
                    a_token_of_another_history_is_refused
                    a_page_size_out_of_range_is_refused
                    a_page_has_a_hundred_rows_unless_told
                    an_unknown_user_or_item_has_an_empty_page
                    a_history_filter_by_time_includes_its_start_and_excludes_its_end
                    withdrawn_rows_are_shown_on_demand_only
                    a_scan_gives_every_row_once_in_order_of_user_and_item
                    shards_are_disjoint_and_complete_and_each_in_order
                    no_batch_of_a_scan_is_empty_or_larger_than_asked
                    a_scan_filter_by_time_includes_its_start_and_excludes_its_end
                    rows_that_do_not_change_during_a_scan_are_seen_exactly_once
                }
                built_in {
                    built_in_columns_are_the_textbook_ones
                    built_in_schemas_are_listed_first
                    features_follow_replaced_and_withdrawn_ratings
                    an_entity_without_a_current_rating_has_no_row_and_keeps_its_times
                    events_that_lost_still_count_for_the_first_time
                    extremes_stay_exact_past_64_distinct_values
                    a_batch_that_passes_64_distinct_values_at_once_is_exact
                    built_in_rows_come_in_the_order_asked_and_missing_ones_are_missing
                    a_projection_gives_the_columns_asked_in_that_order
                    an_unknown_column_of_a_built_in_group_is_refused
                    built_in_groups_are_never_written_by_hand
                    a_built_in_row_says_how_fresh_it_is
                    a_rebuild_changes_nothing
                    many_built_in_rows_are_read_in_one_call
                }
                custom {
                    declaring_a_group_again_is_answered_as_it_is
                    added_columns_make_the_next_version
                    columns_are_never_taken_away_moved_or_retyped
                    schemas_out_of_limits_are_refused
                    groups_are_listed_by_name
                    every_column_type_comes_back_as_it_was_put
                    a_put_replaces_the_whole_row_and_omitted_columns_are_null
                    a_newer_event_time_wins_and_an_older_row_is_stale
                    of_equal_times_the_greater_content_hash_wins_in_every_order
                    a_deletion_is_a_row_that_wins_or_loses_by_time
                    custom_outcomes_are_told_in_the_order_given
                    the_same_custom_rows_again_change_nothing
                    minus_zero_is_zero
                    a_column_added_later_reads_null_in_older_rows
                    custom_columns_come_as_projected
                    custom_rows_come_in_the_order_asked_and_missing_ones_are_missing
                    an_unknown_group_is_not_found
                    a_wrong_value_names_row_and_column_and_refuses_the_whole_batch
                    a_row_at_the_size_limit_is_kept_and_a_larger_one_refused
                    more_rows_than_the_limit_are_refused_and_nothing_is_stored
                    custom_rows_too_far_ahead_are_refused_until_the_clock_has_moved
                    rows_older_than_the_age_asked_are_too_old_and_withheld
                    custom_rows_of_hostile_ids_are_never_confused
                    rows_of_two_groups_are_never_confused
                    a_group_of_a_thousand_columns_and_long_vectors_is_kept
                }
                similarities {
                    a_release_is_invisible_until_it_is_sealed
                    before_the_first_promotion_every_id_is_missing
                    neighbours_come_most_similar_first_and_ties_by_id
                    similarities_are_kept_to_the_last_bit
                    a_limit_cuts_each_list
                    lists_come_in_the_order_asked_missing_and_empty_ones_apart
                    an_answer_says_when_its_release_was_begun
                    a_sealed_release_is_immutable
                    a_list_given_again_replaces_the_first
                    one_invalid_list_refuses_all
                    putting_no_lists_only_looks_whether_the_release_takes_any
                    a_release_with_options_out_of_range_is_refused
                    an_unknown_release_is_not_found
                    only_a_sealed_release_can_be_promoted
                    promoting_replaces_the_current_release_and_again_is_ok
                    rolling_back_makes_the_one_before_current
                    a_release_promoted_again_rolls_back_to_what_was_current_before
                    pruning_keeps_the_current_and_the_newest
                    an_abandoned_release_is_pruned_once_it_is_old
                    a_rollback_does_not_reach_a_pruned_release
                    releases_are_listed_newest_first_also_of_one_millisecond
                    a_release_sorts_after_older_ones_also_after_pruning
                    a_release_tells_what_it_was_begun_with_and_how_much_it_holds
                    popular_entities_come_in_the_order_given_up_to_the_limit
                    users_and_items_have_releases_of_their_own
                    neighbours_of_hostile_ids_are_never_confused
                    many_lists_are_read_in_one_call
                }
                hidden {
                    hidden_items_never_come_back_from_a_read
                    limits_are_counted_after_hidden_items_are_left_out
                    a_hidden_items_own_list_can_be_read
                    unhidden_items_are_shown_again
                    hiding_twice_and_nothing_is_ok
                    hidden_items_are_listed_in_order_of_id
                    hiding_an_item_hides_no_user_of_the_same_id
                }
                erasure {
                    an_erased_user_is_gone_from_ratings_and_features
                    an_erased_item_is_gone_from_ratings_and_features
                    statistics_of_the_others_are_as_if_its_ratings_had_never_been
                    older_events_replayed_do_not_bring_an_erased_user_back
                    older_events_replayed_do_not_bring_an_erased_item_back
                    events_too_far_ahead_are_refused_also_of_erased_entities
                    conflicts_within_a_batch_are_listed_also_of_erased_entities
                    events_after_the_bar_are_accepted_again
                    custom_rows_up_to_the_bar_stay_out
                    an_erased_item_is_gone_from_every_release
                    an_erased_user_is_gone_from_every_release
                    lists_put_later_into_a_release_begun_before_the_erasure_leave_it_out
                    an_erasure_under_a_clock_that_went_back_leaves_it_out_too
                    an_erasure_in_the_millisecond_of_the_begin_leaves_it_out_too
                    an_erased_item_is_not_listed_as_hidden
                    erasing_twice_takes_nothing_more
                    erasing_again_later_moves_the_bar
                    erasing_an_unknown_entity_leaves_a_tombstone
                    a_dry_run_counts_and_changes_nothing
                    erasing_one_of_hostile_ids_takes_only_that_one
                    an_erased_users_history_and_scan_are_empty_for_every_filter
                    a_scan_under_way_gives_no_row_of_a_user_erased_meanwhile
                }
                namespaces {
                    a_handle_says_its_namespace
                    a_new_namespace_is_empty
                    the_same_ids_in_many_namespaces_are_different_things
                    ratings_of_one_namespace_change_no_other
                    feature_groups_of_one_namespace_change_no_other
                    erasing_in_one_namespace_changes_no_other
                    hiding_in_one_namespace_changes_no_other
                    releases_of_one_namespace_change_no_other
                    a_release_of_another_namespace_is_not_found
                    a_page_token_reaches_no_other_namespace
                }
                fingerprints {
                    an_empty_namespace_has_the_fingerprints_of_nothing
                    equal_content_built_in_another_order_has_equal_fingerprints
                    every_order_of_the_same_events_gives_the_same_fingerprints
                    fingerprints_are_those_of_the_documented_encoding
                    any_change_of_a_rating_shows
                    any_change_of_a_custom_row_or_schema_shows
                    any_change_of_a_current_list_or_hidden_item_shows
                    a_tombstone_shows
                    what_readers_do_not_see_is_not_hashed
                    an_entity_without_a_rating_has_no_fingerprint_of_features
                }
                storage {
                    a_store_that_works_is_healthy
                    figures_count_what_the_namespace_holds
                    after_closing_every_call_on_every_handle_is_closed
                    a_scan_ends_after_its_first_error
                    a_write_whose_deadline_passed_fails_and_stores_nothing
                    a_read_whose_deadline_passed_fails
                    a_deadline_far_ahead_changes_nothing
                    the_debug_text_of_a_store_holds_no_key
                }
                concurrency {
                    readers_never_see_half_of_a_batch
                    one_answer_about_many_keys_is_of_one_state
                    readers_see_a_release_whole_while_another_is_promoted
                    a_fingerprint_is_of_one_state
                    items_hidden_in_one_call_are_hidden_at_once
                    many_writers_of_the_same_pairs_leave_the_state_of_the_fold
                    writers_of_many_namespaces_at_once_stay_apart
                    a_dropped_put_is_done_whole_or_not_at_all_and_a_retry_resolves_it
                    a_dropped_put_of_custom_rows_is_done_whole_or_not_at_all
                    a_dropped_put_of_lists_is_done_whole_or_not_at_all
                    a_dropped_erasure_is_done_whole_or_not_at_all
                    a_scan_that_is_left_early_holds_nothing_up
                    readers_of_many_handles_agree
                }
            }
            exhaustive {
                orders {
                    all_720_orders_of_six_events_in_single_puts_agree
                    all_720_orders_of_six_events_in_one_batch_agree
                    all_720_orders_of_six_events_in_two_batches_agree
                }
                hostile {
                    hostile_ids_in_hostile_namespaces_come_back_exactly_and_from_nowhere_else
                    erasing_hostile_ids_takes_only_those
                }
                cancellation {
                    a_write_dropped_at_any_poll_is_done_whole_or_not_at_all_and_a_retry_resolves_it
                    a_read_dropped_at_any_poll_changes_nothing_and_holds_nothing_up
                    writers_that_leave_do_not_disturb_their_neighbours
                }
                model {
                    random_scripts_agree_with_the_memory_oracle
                }
            }
            reopening {
                reopening {
                    a_reopened_store_holds_what_was_acknowledged
                    a_reopened_store_goes_on_where_it_was_closed
                    a_release_being_built_can_be_finished_after_reopening
                    a_rebuild_takes_over_a_changed_prior
                    a_close_dropped_at_any_poll_loses_nothing
                }
            }
        }
    };
}

/// The list as a table of functions.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_table {
    (
        []
        always { $($file:ident { $($name:ident)* })* }
        exhaustive { $($long_file:ident { $($long_name:ident)* })* }
        reopening { $($durable_file:ident { $($durable_name:ident)* })* }
    ) => {
        vec![
            $($(Behaviour {
                name: concat!(stringify!($file), "::", stringify!($name)),
                needs_reopening: false,
                run: |harness| Box::pin($file::$name(harness)),
            },)*)*
            $($(Behaviour {
                name: concat!(stringify!($long_file), "::", stringify!($long_name)),
                needs_reopening: false,
                run: |harness| Box::pin($long_file::$long_name(harness)),
            },)*)*
            $($(Behaviour {
                name: concat!(stringify!($durable_file), "::", stringify!($durable_name)),
                needs_reopening: true,
                run: |harness| Box::pin($durable_file::$durable_name(harness)),
            },)*)*
        ]
    };
}

/// The list as tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (
        [{ backend: $backend:tt, exhaustive: $exhaustive:tt, reopening: $reopening:tt }]
        always { $($file:ident $names:tt)* }
        exhaustive { $($long_file:ident $long_names:tt)* }
        reopening { $($durable_file:ident $durable_names:tt)* }
    ) => {
        $($crate::__conformance_module!($backend [] $file $names);)*
        $($crate::__conformance_module!($backend $exhaustive $long_file $long_names);)*
        $($crate::__conformance_module!($backend $reopening $durable_file $durable_names);)*
    };
}

/// The tests of one subject.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_module {
    (($backend:expr) $attributes:tt $file:ident { $($name:ident)* }) => {
        mod $file {
            #[allow(unused_imports, reason = "the backend may be given without naming anything outside")]
            use super::*;
            $($crate::__conformance_test!(($backend) $attributes $file $name);)*
        }
    };
}

/// One test.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    (($backend:expr) [$($attribute:tt)*] $file:ident $name:ident) => {
        #[test]
        $($attribute)*
        fn $name() {
            $crate::suite::check(concat!(stringify!($file), "::", stringify!($name)), &$backend);
        }
    };
}
