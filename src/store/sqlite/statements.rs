//! The statements of `sql/sqlite.sql`.

use crate::store::sql::statements;

statements! {
    /// Everything that the embedded store asks of SQLite, but its settings.
    SQL: SqliteStatements = "sqlite.sql" {
        create_queue, create_routing, create_revision, begin_revision, create_jobs,
        create_jobs_key, create_failures, create_failures_key, count_tables,
        begin, commit, rollback, begin_task, keep_task, undo_task, checkpoint,
        empty_log, look_for_damage,
        revision, raise_queues_revision, raise_routings_revision, queues, put_queue,
        delete_queue, routings, have_queue, put_routing, delete_routing,
        push, push_grabbed, any_due, complete, retry, log_failure, due_jobs, grab, grabbed,
        put_back,
        jobs_ascending, jobs_descending, job, delete_job,
        backlog, failures_by_failure, failures_by_creation, failure, delete_failure,
        failure_heads_by_failure, failure_heads_by_creation, failures_by_id, delete_failures,
        oldest_failures, failures_beyond,
        last_job_id, last_failure_id, jobs_after, failures_after, import_job, import_failure,
        tables, create_copied, copy_note, put_copy_note, jobs_copied, failures_copied,
        reserve_job_ids, reserve_failure_ids,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::SQL;
    use crate::store::sql::Tables;

    #[test]
    fn what_lists_and_grabs_goes_along_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        let tables = Tables::of("q");
        for statement in
            [&SQL.create_jobs, &SQL.create_jobs_key, &SQL.create_failures, &SQL.create_failures_key]
        {
            connection.execute(&statement.on(&tables), ()).unwrap();
        }
        for (statement, index) in [
            (&SQL.any_due, "fireworq_jq_key(q)"),
            (&SQL.due_jobs, "fireworq_jq_key(q)"),
            (&SQL.jobs_ascending, "fireworq_jq_key(q)"),
            (&SQL.jobs_descending, "fireworq_jq_key(q)"),
            (&SQL.failures_by_failure, "PRIMARY KEY"),
            (&SQL.failures_by_creation, "fireworq_jq_fail_key(q)"),
            (&SQL.failure_heads_by_failure, "PRIMARY KEY"),
            (&SQL.failure_heads_by_creation, "fireworq_jq_fail_key(q)"),
            (&SQL.failures_by_id, "PRIMARY KEY"),
            (&SQL.delete_failures, "PRIMARY KEY"),
            (&SQL.complete, "PRIMARY KEY"),
            (&SQL.retry, "PRIMARY KEY"),
            (&SQL.log_failure, "PRIMARY KEY"),
            (&SQL.grab, "PRIMARY KEY"),
            (&SQL.put_back, "PRIMARY KEY"),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {}", statement.on(&tables));
            let mut explain = connection.prepare(&sql).unwrap();
            let mut rows = explain.raw_query();
            let mut plan = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push(row.get::<_, String>(3).unwrap());
            }
            // One search, and no sorting.
            assert!(plan.len() == 1 && plan[0].starts_with("SEARCH"), "{sql}: {plan:?}");
            assert!(plan[0].contains(index), "{sql}: {plan:?}");
        }
    }
}
