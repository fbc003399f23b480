//! The contract of the stores: every property that `src/store.rs` and the schema promise, against
//! every store. A store exists once it passes.
//!
//! A property is a function over a store with nothing in it. The list at the end of `contract!`
//! makes a test of each, named `<store>::<theme>::<property>`; one that is left out is reported
//! by the compiler as dead code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "store_contract"]
mod properties {
    pub mod backlog;
    pub mod definitions;
    pub mod express;
    pub mod failure_changes;
    pub mod failure_log;
    pub mod filters;
    pub mod grab;
    pub mod inspection;
    pub mod lease;
    pub mod life;
    pub mod paging;
    pub mod push;
    pub mod recover;
    pub mod routings;
    pub mod settle;
    pub mod subject;
    pub mod tools;
}

/// The tests of one store. `$open` makes a subject with nothing in it.
macro_rules! contract {
    ($store:ident, $open:expr) => {
        mod $store {
            contract! { @tests $open;
                definitions {
                    nothing_is_defined_at_first
                    a_queue_is_stored_as_it_is_given
                    a_queue_is_replaced
                    the_largest_numbers_are_kept
                    a_rate_is_read_back_exactly
                    queues_are_listed_by_name
                    a_name_may_hold_any_character
                    a_deleted_queue_is_answered_once
                    only_a_change_changes_the_revision
                    a_snapshot_carries_its_revision
                    a_new_queue_shares_no_tables
                    other_nodes_see_definitions
                }
                routings {
                    a_routing_is_stored_and_replaced
                    routings_are_listed_by_queue_then_category
                    categories_are_told_apart_by_their_bytes
                    a_routing_needs_its_queue
                    a_deleted_routing_is_answered_once
                    only_a_change_changes_the_revision
                    routings_outlive_their_queue
                }
                push {
                    a_job_is_stored_as_it_is_given
                    the_largest_values_are_kept
                    times_are_the_stores
                    ids_grow_in_the_order_of_the_batch
                    a_batch_may_be_empty
                    a_batch_may_be_long
                    a_batch_may_go_to_many_queues
                    a_queue_defined_on_another_node_takes_jobs_at_once
                    a_deleted_queue_still_takes_jobs
                    a_queue_without_tables_fails_alone
                    a_payload_too_large_fails_alone
                    a_category_too_long_fails_alone
                    a_time_out_of_range_fails_alone
                    payloads_keep_every_byte
                    payloads_may_be_large
                    pushes_at_the_same_time_get_ids_of_their_own
                }
                grab {
                    a_due_job_is_grabbed_whole
                    a_grabbed_job_is_not_grabbed_again
                    no_more_is_grabbed_than_there_is_room_for
                    what_is_not_due_is_left
                    what_becomes_due_is_grabbed
                    the_oldest_next_try_comes_first
                    the_lowest_id_comes_first_among_equals
                    each_queue_has_its_own_jobs
                }
                express {
                    new_jobs_are_grabbed_at_once
                    many_new_jobs_are_grabbed_in_order
                    nothing_that_is_due_is_overtaken
                    what_cannot_be_stored_stores_nothing
                    unknown_new_jobs_are_recovered
                    an_ended_lease_stores_nothing
                }
                lease {
                    a_token_is_random_and_fits
                    a_candidate_is_woken_when_it_leads
                    one_node_leads_at_a_time
                    a_second_campaign_of_the_same_node_waits
                    candidates_who_withdraw_are_passed_over
                    each_queue_is_led_on_its_own
                    an_ended_lease_grabs_nothing
                    an_ended_lease_recovers_nothing
                    the_holder_is_known
                }
                settle {
                    a_completed_job_is_gone
                    a_retried_job_waits_for_its_delay
                    a_retried_job_is_grabbed_again
                    a_retry_is_not_repeated_on_the_next_try
                    two_tries_of_one_job_may_stand_in_a_batch
                    a_failed_job_moves_to_the_failure_log
                    a_completed_job_is_gone_whoever_leads
                    a_job_is_named_by_its_creation_time_too
                    another_token_changes_nothing
                    a_waiting_job_is_neither_retried_nor_failed
                    settling_again_is_safe
                    a_deleted_job_stays_gone
                    a_batch_answers_in_its_order
                    a_batch_may_be_empty
                    a_batch_may_be_long
                    a_queue_without_tables_has_no_rows
                }
                recover {
                    the_jobs_of_a_former_leader_go_back
                    unknown_jobs_of_ones_own_go_back
                    known_jobs_stay
                    what_a_process_still_runs_under_its_former_lease_stays
                    rows_without_a_reason_to_recover_are_left
                    many_rows_go_back_in_order
                    a_former_leader_cannot_settle_what_went_back
                    jobs_are_put_back_unchanged
                    only_ones_own_are_put_back
                }
                inspection {
                    jobs_are_listed_by_where_they_stand
                    one_job_is_found_by_its_id
                    a_missing_job_is_none
                    a_waiting_job_is_deleted
                    a_deferred_job_is_deleted
                    a_grabbed_job_is_deleted
                    a_queue_without_tables_is_not_found
                    a_deleted_queue_can_be_looked_into
                }
                paging {
                    pages_of_waiting_jobs_hold_each_once
                    pages_of_deferred_jobs_hold_each_once
                    pages_of_grabbed_jobs_hold_each_once
                    a_page_starts_after_a_row_that_is_gone
                    rows_that_come_and_go_disturb_no_other
                    positions_outside_the_listing_are_harmless
                }
                failure_log {
                    failures_keep_every_byte
                    the_latest_failure_comes_first
                    the_latest_created_job_comes_first
                    pages_hold_each_failure_once
                    pages_by_creation_hold_each_failure_once
                    a_failure_is_found_and_deleted_by_its_id
                    a_missing_failure_is_none
                    a_failure_that_goes_disturbs_no_other
                }
                failure_changes {
                    heads_are_those_of_the_failures
                    failures_are_found_by_their_ids
                    many_failures_are_deleted_by_their_ids
                    a_failure_is_retried_as_it_was
                    a_failure_is_retried_with_changes
                    what_is_not_there_is_passed_over
                    a_batch_is_bounded_in_rows
                    a_batch_is_bounded_in_bytes
                    a_job_that_does_not_fit_leaves_everything
                    two_callers_retry_each_failure_once
                    the_oldest_and_those_in_excess_are_told
                    a_queue_without_tables_is_not_found
                }
                filters {
                    a_filter_takes_what_it_says
                    many_failures_are_retried_by_a_filter
                    many_failures_are_deleted_by_a_filter
                }
                backlog {
                    an_empty_queue_has_none
                    the_figures_tell_where_jobs_stand
                    no_figure_is_counted_beyond_the_most
                    the_oldest_is_the_one_that_waits_longest
                    many_queues_are_told_in_their_order
                }
                life {
                    a_job_is_tried_until_it_fails_for_good
                    a_queue_created_again_has_its_jobs
                    an_id_is_not_given_twice
                    every_job_is_delivered_once
                    the_clock_goes_forward
                    a_store_describes_itself
                }
            }
        }
    };
    (@tests $open:expr; $($theme:ident { $($property:ident)+ })+) => {
        $(mod $theme {
            $(#[test]
            fn $property() {
                use crate::properties::{self, subject::Property};
                properties::$theme::$property.check(&$open);
            })+
        })+
    };
}

contract!(memory, crate::properties::subject::memory());
contract!(sqlite, crate::properties::subject::sqlite());
contract!(mysql, crate::properties::subject::mysql());
