//! One suite over every database that the store runs on, and what only shows between processes and on the disk.

mod fixtures;
mod listing;
mod processes;
mod schema;
mod sqlite;
mod suite;

/// Makes of each case of the suite a test on SQLite and one on a real MariaDB, each on a store of its own.
macro_rules! on_every_database {
    ($($case:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $case() {
                let stores = crate::fixtures::Place::sqlite();
                crate::suite::$case(&stores.open().await).await;
            })*
        }

        mod on_mariadb {
            $(#[tokio::test]
            async fn $case() {
                let Some(stores) = crate::fixtures::Place::mariadb() else { return };
                crate::suite::$case(&stores.open().await).await;
            })*
        }
    };
}

on_every_database! {
    the_state_has_one_id,
    a_server_is_kept_whole_and_replaced,
    servers_come_by_name,
    removing_a_server_takes_its_secrets_and_children,
    documents_come_by_name_and_go_with_their_secrets,
    a_name_has_one_subject,
    a_server_that_is_made_anew_is_another_one,
    an_operation_is_kept_whole,
    the_newest_operation_of_each_server_is_listed,
    an_operation_ends_and_goes_on,
    a_step_moves_with_its_output,
    what_is_not_in_the_journal_is_an_error,
    events_are_numbered_in_order,
    events_are_filtered_and_limited,
    many_events_go_in_at_once,
    an_event_is_in_the_log_once,
    events_of_what_ended_long_ago_are_forgotten,
    the_journal_and_its_events_change_together,
    steps_are_replaced,
    a_lease_is_held_by_one,
    an_expired_lease_is_taken_where_nothing_is_known_of_its_owner,
    a_lease_is_taken_only_from_the_one_that_was_judged,
    what_nobody_polls_keeps_nobody_waiting,
    a_dead_owners_lease_is_taken_at_once,
    a_lost_lease_is_not_renewed,
    children_come_and_go,
    secrets_are_kept_by_owner,
    a_secret_needs_a_visible_name,
    long_and_odd_texts_survive,
}
