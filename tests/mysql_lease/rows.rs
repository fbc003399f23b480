//! What the primary does to the rows of its queue.

use std::time::Duration;

use fireworq::job::JobId;
use fireworq::store::StoreError;
use mysql::prelude::Queryable;

use crate::node::{LONG, Node, database_with_queue, grabbed, granted, mark, put_job};
use crate::support::mariadb;
use crate::support::wait::{SOON, until};

#[test]
fn jobs_are_grabbed_in_order_and_only_once_due() {
    let (database, mut conn) = database_with_queue(mariadb::shared());
    let later = put_job(&mut conn, u64::MAX >> 1);
    let [third, first, second] = [30, 10, 10].map(|next_try| put_job(&mut conn, next_try));
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("q");
    let lease = granted(&*campaign);

    let ids = |room| lease.grab(room).unwrap().iter().map(|job| job.id).collect::<Vec<_>>();
    assert!(ids(0).is_empty());
    assert_eq!(ids(2), [first, second]);
    assert_eq!(ids(10), [third]);
    assert!(ids(10).is_empty());
    assert_eq!(grabbed(&mut conn), [third, first, second]);
    let tokens: Vec<u64> =
        conn.query("SELECT grabber_id FROM `fireworq_jq(q)` WHERE status = 'grabbed'").unwrap();
    assert_eq!(tokens, [lease.token().0; 3]);

    conn.query_drop(
        "UPDATE `fireworq_jq(q)` SET status = 'claimed', next_try = 5, retry_count = 1,
        retry_delay = 2, fail_count = 3, timeout = 4, url = 'http://h/', payload = x'00ff'",
    )
    .unwrap();
    let job = lease.grab(1).unwrap().remove(0);
    assert_eq!(job.id, later);
    assert_eq!((job.category.as_str(), job.url.as_str()), ("c", "http://h/"));
    assert_eq!((job.payload, job.created_at_ms, job.next_try_ms), (vec![0, 0xff], 7, 5));
    assert_eq!((job.retry_count, job.retry_delay_s, job.fail_count, job.timeout_s), (1, 2, 3, 4));
}

#[test]
fn a_look_is_shared_by_idle_queues_as_long_as_it_is_young() {
    let (database, mut conn) = database_with_queue(mariadb::shared());
    conn.query_drop("CREATE TABLE `fireworq_jq(r)` LIKE `fireworq_jq(q)`").unwrap();
    let node = Node::start(&database.dsn(), LONG);
    let campaigns = ["q", "r"].map(|queue| node.campaign(queue));
    let [one, other] = campaigns.each_ref().map(|campaign| granted(&**campaign));
    let (now, ever) = (Duration::ZERO, Duration::from_secs(3600));
    assert!(!one.may_grab(now) && !other.may_grab(now));
    // The look that this asks for is one at both.
    assert!(!one.may_grab(now));
    put_job(&mut conn, 0);
    conn.query_drop("INSERT INTO `fireworq_jq(r)` SELECT * FROM `fireworq_jq(q)`").unwrap();
    assert!(!one.may_grab(ever) && !other.may_grab(ever), "an old answer is not remembered");
    assert!(one.may_grab(now));
    assert!(other.may_grab(ever), "the other asked lately, and was not looked at");
    assert_eq!((one.grab(10).unwrap().len(), other.grab(10).unwrap().len()), (1, 1));
    assert!(!one.may_grab(now) && !other.may_grab(ever));
    // What is not due does not count, and a queue whose table is gone hears of it when it grabs.
    put_job(&mut conn, u64::MAX >> 1);
    assert!(!one.may_grab(now));
    conn.query_drop("DROP TABLE `fireworq_jq(r)`").unwrap();
    assert!(one.may_grab(now) && other.may_grab(now));
    assert!(other.grab(1).is_err());
}

#[test]
fn columns_with_nothing_in_them_are_taken_as_empty() {
    let (database, mut conn) = database_with_queue(mariadb::shared());
    put_job(&mut conn, 0);
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("q");
    let job = granted(&*campaign).grab(1).unwrap().remove(0);
    assert_eq!((job.url.as_str(), job.payload.len(), job.timeout_s), ("", 0, 0));
}

#[test]
fn large_jobs_are_grabbed_a_few_at_a_time() {
    let (database, mut conn) = database_with_queue(mariadb::shared());
    for _ in 0..6 {
        put_job(&mut conn, 0);
    }
    // 15 MiB each: four fit into one grab.
    conn.query_drop("UPDATE `fireworq_jq(q)` SET payload = REPEAT('x', 15 << 20)").unwrap();
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("q");
    let lease = granted(&*campaign);
    let mut grabbed = 0;
    until("all are grabbed", 3 * SOON, || {
        // On a busy machine this much may take the server longer than a statement has.
        let jobs = lease.grab(10).unwrap_or_default();
        assert!(jobs.len() <= 4, "{} at once", jobs.len());
        grabbed += jobs.len();
        grabbed == 6
    });
}

#[test]
fn recovery_puts_back_what_nobody_works_on() {
    let (database, mut conn) = database_with_queue(mariadb::shared());
    let ids: Vec<JobId> = (0..2500).map(|_| put_job(&mut conn, 100)).collect();
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("q");
    let lease = granted(&*campaign);
    conn.query_drop("UPDATE `fireworq_jq(q)` SET status = 'grabbed', grabber_id = 5").unwrap();
    mark(&mut conn, ids[3], Some(lease.token().0));
    mark(&mut conn, ids[4], Some(lease.token().0));
    mark(&mut conn, ids[5], None);
    conn.exec_drop("UPDATE `fireworq_jq(q)` SET status = 'claimed' WHERE job_id = ?", (ids[6],))
        .unwrap();
    let ours = lease.token();
    let known = |id, token| token == ours && [ids[0], ids[3], ids[5]].contains(&id);
    assert_eq!(lease.recover(&known), Ok(2498));
    assert_eq!(grabbed(&mut conn), [ids[3]]);
    let left: Option<u64> = conn
        .query_first(
            "SELECT COUNT(*) FROM `fireworq_jq(q)` WHERE status = 'claimed' \
                      AND next_try = 100 AND grabber_id IS NULL",
        )
        .unwrap();
    // The one that was claimed keeps its old mark, which means nothing.
    assert_eq!(left, Some(2498));
    assert_eq!(lease.recover(&known), Ok(0));
}

#[test]
fn jobs_are_put_back_under_their_own_token_even_after_the_end() {
    let (database, mut conn) = database_with_queue(mariadb::shared());
    let ids: Vec<JobId> = (0..3).map(|_| put_job(&mut conn, 0)).collect();
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("q");
    let lease = granted(&*campaign);
    assert_eq!(lease.grab(10).unwrap().len(), 3);
    mark(&mut conn, ids[1], Some(5));
    drop(campaign);
    assert!(!lease.is_held());
    lease.put_back(&[]).unwrap();
    lease.put_back(&ids[..2]).unwrap();
    assert_eq!(grabbed(&mut conn), ids[1..]);
    assert!(matches!(lease.recover(&|_, _| false), Err(StoreError::Unavailable(_))));
    assert_eq!(grabbed(&mut conn), ids[1..]);
}

#[test]
fn a_queue_without_tables_is_told_apart() {
    let database = mariadb::shared().create_database();
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("none");
    let lease = granted(&*campaign);
    assert!(matches!(lease.grab(1), Err(StoreError::NotFound(_))));
    assert!(lease.is_held());
}
