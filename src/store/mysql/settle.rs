//! Outcomes in: what became of grabbed jobs.
//!
//! A batch is one transaction. Its rows are taken queue by queue in the order of their ids, as in
//! every other transaction, so that few of them wait for each other; where they do, all of it is
//! repeated. Mostly all jobs of a queue are done and their rows still there: they are deleted by
//! one statement that counts. Where it counts fewer, the batch is undone, and repeated with a look
//! at each row first, which tells which are gone.

use std::collections::HashMap;

use mysql::Error;

use super::MySqlStore;
use super::fault::{Fault, code};
use super::schema::{self, JOBS};
use super::session::Session;
use crate::job::JobId;
use crate::store::sql::Tables;
use crate::store::{Settled, Settlement, Step, StoreError, Token};

/// The most rows that one statement names.
const STATEMENT_ROWS: usize = 512;
/// The longest text that the column `result` holds, in bytes.
const MAX_RESULT_BYTES: usize = (1 << 24) - 1;
/// What a failure's statement takes beside the result, in bytes.
const STATEMENT_EXTRA_BYTES: usize = 1024;

/// The settlements of one queue by id, each with its place in the batch.
struct Group<'a> {
    queue: &'a str,
    tables: Tables,
    items: Vec<(usize, &'a Settlement)>,
}

/// A settlement's row as it stands.
type RowState = (JobId, u64, Vec<u8>, Option<u64>, u32);

/// Stores a batch; see [`Jobs::settle`](crate::store::Jobs::settle).
pub(super) fn settle(store: &MySqlStore, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
    if let [settlement] = batch
        && settlement.step == Step::Complete
    {
        return complete_alone(store, settlement).map(|settled| vec![settled]);
    }
    let mut answers = vec![Settled::Gone; batch.len()];
    let mut groups = group_by_queue(batch);
    let mut missing = 0;
    while !groups.is_empty() {
        let mut at = 0;
        match store.queues.with_quick_repeats(|session| settle_groups(session, &groups, &mut at)) {
            Ok(settled) => {
                store.stuck.remove(groups.iter().map(|group| group.queue));
                for (place, settled) in settled {
                    answers[place] = settled;
                }
                break;
            }
            // Each queue can lack its failure log once and its jobs once.
            Err(fault)
                if fault.code() == Some(code::NO_SUCH_TABLE) && missing < 2 * batch.len() =>
            {
                missing += 1;
                if !schema::ensure_failures(&store.queues, &groups[at].tables)? {
                    // Somebody dropped the queue's tables, and its jobs with them.
                    groups.remove(at);
                }
            }
            Err(fault) => {
                note_stuck(store, groups[at].queue, &fault);
                return Err(fault.into());
            }
        }
    }
    Ok(answers)
}

/// The most common case by one statement and one round trip.
fn complete_alone(store: &MySqlStore, settlement: &Settlement) -> Result<Settled, StoreError> {
    let sql = JOBS.complete.on(&Tables::of(&settlement.queue));
    let key = (settlement.job_id, settlement.created_at_ms);
    match store.queues.with_quick_repeats(|session| session.execute(&sql, key)) {
        Ok(count) => {
            store.stuck.remove([&*settlement.queue]);
            Ok(if count == 0 { Settled::Gone } else { Settled::Stored })
        }
        Err(fault) if fault.code() == Some(code::NO_SUCH_TABLE) => Ok(Settled::Gone),
        Err(fault) => {
            note_stuck(store, &settlement.queue, &fault);
            Err(fault.into())
        }
    }
}

fn note_stuck(store: &MySqlStore, queue: &str, fault: &Fault) {
    if fault.is_locked() {
        store.stuck.insert(queue);
    }
}

fn group_by_queue(batch: &[Settlement]) -> Vec<Group<'_>> {
    let mut items: Vec<(usize, &Settlement)> = batch.iter().enumerate().collect();
    items.sort_by(|(_, a), (_, b)| (&a.queue, a.job_id).cmp(&(&b.queue, b.job_id)));
    items
        .chunk_by(|(_, a), (_, b)| a.queue == b.queue)
        .map(|items| {
            let queue = &*items[0].1.queue;
            Group { queue, tables: Tables::of(queue), items: items.to_vec() }
        })
        .collect()
}

/// Settles all groups. `at` says which one an error is about.
fn settle_groups(
    session: &mut Session,
    groups: &[Group<'_>],
    at: &mut usize,
) -> Result<Vec<(usize, Settled)>, Error> {
    if let Some(settled) = settle_in(session, groups, at, complete_quickly)? {
        return Ok(settled);
    }
    Ok(settle_in(session, groups, at, settle_carefully)?.unwrap_or_default())
}

/// Settles all groups in one transaction, one after the other by `settle`. Where that answers
/// `None`, so does this, and nothing is changed.
fn settle_in(
    session: &mut Session,
    groups: &[Group<'_>],
    at: &mut usize,
    settle: impl Fn(&mut Session, &Group<'_>) -> Result<Option<Vec<(usize, Settled)>>, Error>,
) -> Result<Option<Vec<(usize, Settled)>>, Error> {
    session.transaction_if(|session| {
        let mut settled = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            *at = number;
            match settle(session, group)? {
                Some(some) => settled.extend(some),
                None => return Ok(None),
            }
        }
        Ok(Some(settled))
    })
}

/// Settles a group whose jobs are all done and whose rows are all there; `None` if it is not
/// like that. Any other group is settled carefully.
fn complete_quickly(
    session: &mut Session,
    group: &Group<'_>,
) -> Result<Option<Vec<(usize, Settled)>>, Error> {
    if group.items.iter().any(|(_, settlement)| settlement.step != Step::Complete) {
        return settle_carefully(session, group);
    }
    for items in group.items.chunks(STATEMENT_ROWS) {
        let keys: Vec<[u64; 2]> =
            items.iter().map(|(_, item)| [item.job_id, item.created_at_ms]).collect();
        let deleted = session.run(JOBS.complete_some.with(&group.tables, &keys))?;
        if deleted != keys.len() as u64 {
            return Ok(None);
        }
    }
    Ok(Some(group.items.iter().map(|(place, _)| (*place, Settled::Stored)).collect()))
}

/// Settles a group with a look at each row. Always `Some`.
fn settle_carefully(
    session: &mut Session,
    group: &Group<'_>,
) -> Result<Option<Vec<(usize, Settled)>>, Error> {
    let mut settled = Vec::with_capacity(group.items.len());
    for items in group.items.chunks(STATEMENT_ROWS) {
        let mut rows = lock_rows(session, group, items)?;
        let (mut removed, mut retried) = (Vec::new(), Vec::new());
        for (place, item) in items {
            // Taken out, so that a row that the batch names twice is settled once: by the one
            // that is about it, such as the outcome of a try beside the repeated one of the try
            // before.
            let is_ours = rows.get(&item.job_id).is_some_and(|row| matches(item, row));
            if is_ours {
                rows.remove(&item.job_id);
            }
            settled.push((*place, if is_ours { Settled::Stored } else { Settled::Gone }));
            if !is_ours {
                continue;
            }
            match &item.step {
                Step::Complete => removed.push([item.job_id]),
                Step::Retry => retried.push([item.job_id]),
                Step::Fail(result) => {
                    let result = fitting(result, session.max_packet());
                    let sql = JOBS.log_failure.on(&group.tables);
                    session.execute(&sql, (result, item.job_id))?;
                    removed.push([item.job_id]);
                }
            }
        }
        if !retried.is_empty() {
            session.run(JOBS.retry.with(&group.tables, &retried))?;
        }
        if !removed.is_empty() {
            session.run(JOBS.remove.with(&group.tables, &removed))?;
        }
    }
    Ok(Some(settled))
}

fn lock_rows(
    session: &mut Session,
    group: &Group<'_>,
    items: &[(usize, &Settlement)],
) -> Result<HashMap<JobId, RowState>, Error> {
    let ids: Vec<[u64; 1]> = items.iter().map(|(_, item)| [item.job_id]).collect();
    let rows: Vec<RowState> = session.query_rows(JOBS.lock.with(&group.tables, &ids))?;
    Ok(rows.into_iter().map(|row| (row.0, row)).collect())
}

/// Whether a row is still the one that a settlement is about.
fn matches(item: &Settlement, row: &RowState) -> bool {
    let (_, created_at_ms, status, grabber, fail_count) = row;
    let is_same = *created_at_ms == item.created_at_ms;
    let is_grabbed = status == b"grabbed" && grabber.map(Token) == Some(item.token);
    let is_same_try = is_grabbed && *fail_count == item.fail_count;
    is_same && (is_same_try || item.step == Step::Complete)
}

/// A result that the column and a packet can hold: one that does not fit would keep its job, and
/// the whole batch, from ever being settled.
fn fitting(result: &[u8], max_packet: usize) -> Vec<u8> {
    let limit = MAX_RESULT_BYTES.min(max_packet.saturating_sub(STATEMENT_EXTRA_BYTES));
    if result.len() <= limit {
        return result.to_vec();
    }
    let text = format!(
        r#"{{"status":"failure","code":0,"message":"the result was too large to keep: {} bytes"}}"#,
        result.len()
    );
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settlement(queue: &str, job_id: JobId, step: Step) -> Settlement {
        let (created_at_ms, token, fail_count) = (5, Token(7), 2);
        Settlement { queue: queue.into(), job_id, created_at_ms, token, fail_count, step }
    }

    #[test]
    fn rows_are_taken_in_one_order() {
        let batch =
            [("b", 1), ("a", 9), ("b", 3), ("a", 2)].map(|(q, id)| settlement(q, id, Step::Retry));
        let order: Vec<Vec<(usize, JobId)>> = group_by_queue(&batch)
            .iter()
            .map(|group| group.items.iter().map(|(place, item)| (*place, item.job_id)).collect())
            .collect();
        assert_eq!(order, [vec![(3, 2), (1, 9)], vec![(0, 1), (2, 3)]]);
    }

    #[test]
    fn a_row_is_ours_by_its_creation_and_for_a_change_by_our_token_and_try() {
        let grabbed = |created, token| (1, created, b"grabbed".to_vec(), token, 2);
        let claimed = (1, 5, b"claimed".to_vec(), None, 2);
        let a_later_try = (1, 5, b"grabbed".to_vec(), Some(7), 3);
        let complete = settlement("q", 1, Step::Complete);
        let retry = settlement("q", 1, Step::Retry);
        let fail = settlement("q", 1, Step::Fail(Vec::new()));
        for (row, is_done, is_changeable) in [
            (grabbed(5, Some(7)), true, true),
            (grabbed(5, Some(8)), true, false),
            (grabbed(5, None), true, false),
            (grabbed(6, Some(7)), false, false),
            (claimed, true, false),
            (a_later_try, true, false),
        ] {
            assert_eq!(matches(&complete, &row), is_done, "{row:?}");
            assert_eq!(matches(&retry, &row), is_changeable, "{row:?}");
            assert_eq!(matches(&fail, &row), is_changeable, "{row:?}");
        }
    }

    #[test]
    fn a_result_that_does_not_fit_is_replaced() {
        assert_eq!(fitting(b"{}", 1 << 20), b"{}");
        let replaced = fitting(&[b'x'; 2000], 2048);
        assert!(serde_json::from_slice::<serde_json::Value>(&replaced).is_ok());
        assert!(String::from_utf8(replaced).unwrap().contains("2000 bytes"));
    }
}
