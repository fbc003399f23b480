//! Group commit: several pieces of work in one transaction, each of which succeeds or fails alone.

use rusqlite::Connection;

use super::fault::Fault;
use super::statements::SQL;
use super::task::Task;
use crate::store::StoreError;

/// How a group ended.
pub(super) struct Outcomes {
    /// For each piece of work, in order, whether it is on the disk.
    pub(super) answers: Vec<Result<(), StoreError>>,
    /// What went wrong with the machine or the file, if anything did.
    pub(super) outage: Option<Fault>,
}

/// Runs a group and commits it. One that the disk has no room for is repeated piece by piece: what
/// gives room, or needs little, may still succeed.
pub(super) fn commit(connection: &Connection, tasks: &mut [Box<dyn Task>]) -> Outcomes {
    let mut outage = None;
    let mut answers = Vec::with_capacity(tasks.len());
    match attempt(connection, tasks, &mut outage) {
        Ok(all) => answers = all,
        Err(fault) if tasks.len() == 1 || !fault.is_worth_splitting() => {
            let error = note(fault, &mut outage);
            answers.resize(tasks.len(), Err(error));
        }
        Err(_) => {
            for task in tasks.chunks_mut(1) {
                match attempt(connection, task, &mut outage) {
                    Ok(one) => answers.extend(one),
                    Err(fault) => answers.push(Err(note(fault, &mut outage))),
                }
            }
        }
    }
    Outcomes { answers, outage }
}

/// Runs and commits once; answers how each piece of work ended.
///
/// # Errors
/// Nothing is changed, as far as can be known.
fn attempt(
    connection: &Connection,
    tasks: &mut [Box<dyn Task>],
    outage: &mut Option<Fault>,
) -> Result<Vec<Result<(), StoreError>>, Fault> {
    let is_group = tasks.len() > 1;
    execute(connection, &SQL.begin.text())?;
    let answers = run_all(connection, tasks, is_group, outage);
    let committed = answers.and_then(|answers| {
        execute(connection, &SQL.commit.text())?;
        Ok(answers)
    });
    if committed.is_err() && !connection.is_autocommit() {
        // It was not, and a failed roll-back leaves nothing but to close the connection.
        execute(connection, &SQL.rollback.text())?;
    }
    committed
}

fn run_all(
    connection: &Connection,
    tasks: &mut [Box<dyn Task>],
    is_group: bool,
    outage: &mut Option<Fault>,
) -> Result<Vec<Result<(), StoreError>>, Fault> {
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        if is_group {
            execute(connection, &SQL.begin_task.text())?;
        }
        let ran = task.run(connection);
        // Some errors undo the whole transaction.
        let fault = match ran {
            Ok(()) => None,
            Err(fault) if !is_group || connection.is_autocommit() => return Err(fault),
            Err(fault) => Some(fault),
        };
        if fault.is_some() {
            execute(connection, &SQL.undo_task.text())?;
        }
        if is_group {
            execute(connection, &SQL.keep_task.text())?;
        }
        answers.push(fault.map_or(Ok(()), |fault| Err(note(fault, outage))));
    }
    Ok(answers)
}

/// Remembers an outage, and answers the error for the caller.
fn note(fault: Fault, outage: &mut Option<Fault>) -> StoreError {
    let told = fault.told();
    if fault.is_outage() {
        *outage = Some(fault);
    }
    told
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.execute(())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::store::sqlite::task::perform;

    type Work = Box<dyn FnMut(&Connection) -> Result<i64, Fault> + Send>;
    type Caller = std::thread::JoinHandle<Result<i64, StoreError>>;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute("CREATE TABLE t (n INTEGER NOT NULL UNIQUE)", ()).unwrap();
        connection
    }

    fn insert(n: Option<i64>) -> Work {
        Box::new(move |connection| {
            connection.execute("INSERT INTO t VALUES (?)", (n,))?;
            Ok(connection.last_insert_rowid())
        })
    }

    /// Callers with their work, and the tasks as the writer gets them, in the order of the work.
    fn handed_in(work: Vec<Work>) -> (Vec<Caller>, Vec<Box<dyn Task>>) {
        let mut callers = Vec::new();
        let mut tasks = Vec::new();
        for work in work {
            let (sender, receiver): (_, Receiver<Box<dyn Task>>) = unbounded();
            callers
                .push(std::thread::spawn(move || perform(|task| sender.send(task).is_ok(), work)));
            tasks.push(receiver.recv_timeout(Duration::from_secs(20)).unwrap());
        }
        (callers, tasks)
    }

    fn run(connection: &Connection, work: Vec<Work>) -> (Vec<Result<i64, StoreError>>, Outcomes) {
        let (callers, mut tasks) = handed_in(work);
        let outcomes = commit(connection, &mut tasks);
        for (task, answer) in tasks.into_iter().zip(outcomes.answers.clone()) {
            task.answer(answer);
        }
        (callers.into_iter().map(|caller| caller.join().unwrap()).collect(), outcomes)
    }

    fn stored(connection: &Connection) -> Vec<i64> {
        let mut select = connection.prepare("SELECT n FROM t ORDER BY n").unwrap();
        select.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_fails_fails_alone() {
        let connection = database();
        let half: Work = Box::new(|connection| {
            connection.execute("INSERT INTO t VALUES (7)", ())?;
            Err(StoreError::NotFound("no".into()).into())
        });
        let work = vec![insert(Some(1)), half, insert(Some(1)), insert(None), insert(Some(2))];
        let (answers, outcomes) = run(&connection, work);
        assert_eq!((&answers[0], &answers[4]), (&Ok(1), &Ok(2)));
        assert_eq!(answers[1], Err(StoreError::NotFound("no".into())));
        for answer in &answers[2..4] {
            assert!(matches!(answer, Err(StoreError::Rejected(_))), "{answer:?}");
        }
        assert_eq!(stored(&connection), [1, 2]);
        assert!(outcomes.outage.is_none());
        assert!(connection.is_autocommit());
        let (answers, _) = run(&connection, vec![insert(None)]);
        assert!(answers[0].is_err() && connection.is_autocommit());
    }

    #[test]
    fn what_has_no_room_leaves_the_others_theirs() {
        let connection = database();
        let pages: i64 =
            connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        connection.pragma_update(None, "max_page_count", pages).unwrap();
        let large: Work = Box::new(|connection| {
            connection.execute("CREATE TABLE large AS SELECT zeroblob(100000)", ())?;
            Ok(0)
        });
        let (answers, outcomes) = run(&connection, vec![insert(Some(1)), large, insert(Some(2))]);
        assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
        assert!(matches!(answers[1], Err(StoreError::Full(_))), "{answers:?}");
        assert!(outcomes.outage.is_some());
        assert_eq!(stored(&connection), [1, 2]);
    }

    #[test]
    fn a_caller_that_gives_up_has_a_deadline() {
        let (callers, tasks) = handed_in(vec![insert(Some(1))]);
        assert!(tasks[0].deadline() > Instant::now());
        assert!(tasks[0].deadline() < Instant::now() + Duration::from_secs(6));
        // The writer ended.
        drop(tasks);
        for caller in callers {
            let answer = caller.join().unwrap();
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        }
    }
}
