//! Who may run a queue's jobs, against a real server: elections among nodes, deaths, silence, and
//! what the primary does to rows. The rows of the page in `src/store/mysql/lease.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "mysql_lease/node.rs"]
mod node;
#[path = "mysql_lease/rows.rs"]
mod rows;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fireworq::store::{Campaign, StoreError};
use fireworq::wake::Wake;
use mysql::Row;
use mysql::prelude::Queryable;

use node::{
    LONG, Node, SHORT, database_with_queue, grabbed, granted, holder, lock_of, mark, put_job,
    waits_inside_the_server,
};
use support::mariadb::{self, MariaDb};
use support::proxy::Proxy;
use support::wait::{SOON, eventually, until};

#[test]
fn one_of_two_nodes_holds_a_lease_and_a_resignation_hands_it_over() {
    let database = mariadb::shared().create_database();
    let (one, two) = (Node::start(&database.dsn(), LONG), Node::start(&database.dsn(), LONG));
    let (wake, woken) = Wake::channel();
    let mine = one.elector.campaign(&"q".into(), wake);
    woken.recv_timeout(SOON).unwrap();
    let lease = mine.lease().expect("a lease when woken");
    assert!(lease.is_held());

    let theirs = two.campaign("q");
    let shown = one.elector.holder("q").unwrap().unwrap();
    assert_eq!(shown, two.elector.holder("q").unwrap().unwrap());
    assert_eq!(
        Some(shown.id),
        holder(&mut database.conn(), &database, "q").map(|id| id.to_string())
    );
    assert_eq!(shown.host, "127.0.0.1");
    assert_eq!(two.elector.holder("another"), Ok(None));
    assert!(theirs.lease().is_none());

    drop(mine);
    assert!(!lease.is_held(), "it ends before its lock is released");
    let successor = granted(&*theirs);
    assert_ne!(successor.token(), lease.token());
    assert!(!lease.is_held());
    assert!(matches!(lease.grab(1), Err(StoreError::Unavailable(_))));
}

#[test]
fn a_node_that_closes_hands_over_all_its_leases() {
    let database = mariadb::shared().create_database();
    let (one, two) = (Node::start(&database.dsn(), LONG), Node::start(&database.dsn(), LONG));
    let queues = ["a", "b", "c", "d"];
    let mine: Vec<_> = queues.iter().map(|queue| one.campaign(queue)).collect();
    let leases: Vec<_> = mine.iter().map(|campaign| granted(&**campaign)).collect();
    let theirs: Vec<_> = queues.iter().map(|queue| two.campaign(queue)).collect();
    one.elector.close();
    one.elector.close();
    assert!(leases.iter().all(|lease| !lease.is_held()));
    assert!(mine.iter().all(|campaign| campaign.lease().is_none()));
    theirs.iter().for_each(|campaign| drop(granted(&**campaign)));
}

#[test]
fn one_of_several_locks_that_comes_free_is_found() {
    let database = mariadb::shared().create_database();
    let (one, two) = (Node::start(&database.dsn(), LONG), Node::start(&database.dsn(), LONG));
    let names: Vec<String> = (0..10).map(|number| format!("q{number}")).collect();
    let mut mine: Vec<_> = names.iter().map(|name| one.campaign(name)).collect();
    let leases: Vec<_> = mine.iter().map(|campaign| granted(&**campaign)).collect();
    let theirs: Vec<_> = names.iter().map(|name| two.campaign(name)).collect();
    drop(mine.remove(7));
    granted(&*theirs[7]);
    let held = |number: &usize| leases[*number].is_held();
    assert_eq!((0..10).filter(held).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert!((0..10).filter(held).all(|number| theirs[number].lease().is_none()));
}

#[test]
fn two_campaigns_of_a_node_for_a_queue_hold_it_one_after_the_other() {
    let database = mariadb::shared().create_database();
    let node = Node::start(&database.dsn(), LONG);
    let first = node.campaign("q");
    let lease = granted(&*first);
    let second = node.campaign("q");
    // The grant of another lock shows that the node has looked since.
    granted(&*node.campaign("another"));
    assert!(second.lease().is_none());
    drop(first);
    let successor = granted(&*second);
    assert!(!lease.is_held() && successor.is_held());
    drop(second);
    let mut conn = database.conn();
    until("the lock is free", SOON, || holder(&mut conn, &database, "q").is_none());
}

#[test]
fn two_hundred_queues_take_two_sessions_a_node() {
    let server = MariaDb::start_with(&["--max-connections=20"]);
    let database = server.create_database();
    let nodes = [Node::start(&database.dsn(), LONG), Node::start(&database.dsn(), LONG)];
    let names: Vec<String> = (0..200).map(|number| format!("queue-{number}")).collect();
    let campaigns: Vec<[Box<dyn Campaign>; 2]> =
        names.iter().map(|name| [nodes[0].campaign(name), nodes[1].campaign(name)]).collect();
    let leases = eventually("each queue has a primary", SOON, || {
        let leases = campaigns.iter().map(|pair| {
            let [one, two] = [pair[0].lease(), pair[1].lease()];
            assert!(one.is_none() || two.is_none(), "two primaries");
            one.or(two)
        });
        leases.collect::<Option<Vec<_>>>()
    });
    let tokens: std::collections::HashSet<_> = leases.iter().map(|lease| lease.token()).collect();
    assert_eq!(tokens.len(), 200);
    let mut conn = server.conn();
    let sessions: Vec<Row> = conn
        .exec("SELECT id FROM information_schema.processlist WHERE db = ?", (&database.name,))
        .unwrap();
    assert!(sessions.len() <= 4, "{} sessions", sessions.len());

    nodes[0].elector.close();
    for pair in &campaigns {
        granted(&*pair[1]);
    }
}

#[test]
fn the_names_of_the_original_are_used_where_it_runs_too() {
    let database = mariadb::shared().create_database();
    let node = Node::beside_the_original(&database.dsn());
    let mut original = database.conn();
    let lock = "fireworq_jq(it's \\ a ?)";
    let taken: Option<i64> = original.exec_first("SELECT GET_LOCK(?, 0)", (lock,)).unwrap();
    assert_eq!(taken, Some(1));
    let campaign = node.campaign("it's \\ a ?");
    let id = original.connection_id().to_string();
    assert_eq!(node.elector.holder("it's \\ a ?").unwrap().unwrap().id, id);
    assert!(campaign.lease().is_none());
    original.exec_drop("DO RELEASE_LOCK(?)", (lock,)).unwrap();
    granted(&*campaign);
    assert_ne!(node.elector.holder("it's \\ a ?").unwrap().unwrap().id, id);
}

#[test]
fn a_lock_that_the_server_refuses_does_not_hinder_the_others() {
    let database = mariadb::shared().create_database();
    let node = Node::beside_the_original(&database.dsn());
    let refused = node.campaign(&"x".repeat(300));
    let campaigns = ["a", "b"].map(|queue| node.campaign(queue));
    campaigns.iter().for_each(|campaign| drop(granted(&**campaign)));
    assert!(refused.lease().is_none());
    // Nor does it later, when locks are looked for again and one that was held is released.
    drop(campaigns);
    granted(&*node.campaign("b"));
    assert!(refused.lease().is_none());
}

#[test]
fn two_nodes_never_lead_at_once_whichever_sessions_are_killed() {
    const QUEUES: [&str; 4] = ["a", "b", "c", "d"];
    const ROUNDS: usize = 20;
    let database = mariadb::shared().create_database();
    let nodes = [0; 3].map(|_| Node::start(&database.dsn(), LONG));
    let campaigns = QUEUES.map(|queue| nodes.each_ref().map(|node| node.campaign(queue)));
    let leads = || {
        campaigns.each_ref().map(|candidates| {
            let leases = candidates.each_ref().map(|campaign| campaign.lease());
            let leases: Vec<_> = leases.into_iter().flatten().collect();
            // A lease that ended never stands again: those that stand now stood at once.
            let standing = leases.iter().filter(|lease| lease.is_held()).count();
            assert!(standing <= 1, "{standing} primaries");
            standing
        })
    };
    let mut conn = database.conn();
    let own = conn.connection_id();
    for round in 0..ROUNDS {
        until("each queue has a primary", SOON, || leads() == [1; 4]);
        let sessions: Vec<u32> = conn
            .exec(
                "SELECT id FROM information_schema.processlist WHERE db = ? AND id <> ?",
                (&database.name, own),
            )
            .unwrap();
        // One dies in turn, holders and waiters. It may have ended by itself by now, and all of
        // them may just have been killed.
        if let Some(id) = sessions.get(round % sessions.len().max(1)) {
            let _ = conn.query_drop(format!("KILL {id}"));
        }
    }
    until("each queue has a primary", SOON, || leads() == [1; 4]);
}

#[test]
fn a_killed_session_ends_its_leases_at_once_and_the_node_stands_again() {
    let database = mariadb::shared().create_database();
    let node = Node::start(&database.dsn(), LONG);
    let (wake, woken) = Wake::channel();
    let campaign = node.elector.campaign(&"q".into(), wake);
    let mut conn = database.conn();
    let mut last = None;
    for _ in 0..3 {
        let lease = granted(&*campaign);
        assert!(last != Some(lease.token()));
        last = Some(lease.token());
        while woken.try_recv().is_ok() {}
        let id = holder(&mut conn, &database, "q").unwrap();
        conn.query_drop(format!("KILL {id}")).unwrap();
        // By the next heartbeat it would take up to a second.
        let killed = Instant::now();
        until("the lease has ended", SOON, || !lease.is_held());
        let noticed = killed.elapsed();
        assert!(noticed < Duration::from_millis(500), "noticed after {noticed:?}");
        woken.recv_timeout(SOON).unwrap();
        assert!(!lease.is_held());
    }
    granted(&*campaign);
}

#[test]
fn a_black_hole_ends_the_old_lease_before_the_new_one_begins() {
    let server = mariadb::shared();
    let database = server.create_database();
    let proxy = Proxy::to(server.port());
    let cut_off = Node::start(&database.dsn_at(proxy.port()), SHORT);
    let other = Node::start(&database.dsn(), SHORT);
    let mine = cut_off.campaign("q");
    let lease = granted(&*mine);
    let theirs = other.campaign("q");
    // Renewed beyond its first term, so that heartbeats are what keeps it.
    let lives_until = Instant::now() + SHORT;
    until("its first term is over", SOON, || Instant::now() > lives_until);
    assert!(lease.is_held());

    proxy.freeze();
    let frozen = Instant::now();
    eventually("the other node is granted the lease", SOON, || {
        let granted = theirs.lease();
        // In this order: what ended before the look has ended before the grant.
        assert!(granted.is_none() || !lease.is_held(), "two primaries");
        granted
    });
    let took = frozen.elapsed();
    assert!(took < SHORT + Duration::from_secs(5), "taken over after {took:?}");
    assert!(mine.lease().is_none());

    proxy.thaw();
    assert!(!lease.is_held());
    other.elector.close();
    let again = granted(&*mine);
    assert!(again.is_held() && !lease.is_held());
}

#[test]
fn a_stop_does_not_wait_for_a_silent_server() {
    let server = mariadb::shared();
    let database = server.create_database();
    let proxy = Proxy::to(server.port());
    let mut blocker = database.conn();
    let lock = lock_of(&database, "theirs");
    blocker.exec_drop("DO GET_LOCK(?, 0)", (lock,)).unwrap();
    let node = Node::start(&database.dsn_at(proxy.port()), LONG);
    let campaigns = [node.campaign("q"), node.campaign("theirs")];
    let lease = granted(&*campaigns[0]);
    waits_inside_the_server(&mut blocker, &database);
    proxy.freeze();
    let frozen = Instant::now();
    // Then a heartbeat is under way, whose patience is longer than this test's.
    until("a heartbeat is due", SOON, || frozen.elapsed() > Duration::from_millis(1500));
    let (done, closed) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            node.elector.close();
            done.send(()).unwrap();
        });
        closed.recv_timeout(Duration::from_secs(3)).expect("a prompt end");
    });
    assert!(!lease.is_held());
}

#[test]
fn a_node_stands_once_the_server_is_there_and_again_after_a_crash() {
    let server = MariaDb::start();
    let (database, mut conn) = database_with_queue(&server);
    let id = put_job(&mut conn, 0);
    server.kill9();
    let node = Node::start(&database.dsn(), LONG);
    let campaign = node.campaign("q");
    assert!(campaign.lease().is_none());
    server.restart();
    let lease = granted(&*campaign);
    let jobs = eventually("the pool has noticed too", SOON, || lease.grab(10).ok());
    assert_eq!(jobs[0].id, id);

    server.kill9();
    until("the lease has ended", SOON, || !lease.is_held());
    server.restart();
    let again = granted(&*campaign);
    assert!(!lease.is_held());
    assert_ne!(again.token(), lease.token());
    // The job still runs here, under the token of before.
    let known = eventually("recovery", SOON, || again.recover(&|job, _| job == id).ok());
    assert_eq!(known, 0);
    assert_eq!(grabbed(&mut database.conn()), [id]);
    assert_eq!(again.recover(&|_, _| false), Ok(1));
    assert!(grabbed(&mut database.conn()).is_empty());
}

#[test]
fn a_stale_lease_changes_nothing_even_if_its_connection_id_came_back() {
    let server = MariaDb::start();
    let (database, mut conn) = database_with_queue(&server);
    let job = put_job(&mut conn, 0);
    let proxy = Proxy::to(server.port());
    let node = Node::with_ways(&database.dsn_at(proxy.port()), &database.dsn(), LONG);
    let campaign = node.campaign("q");
    let lease = granted(&*campaign);
    let id = holder(&mut conn, &database, "q").unwrap();

    // The node hears nothing of the end of its session.
    proxy.freeze();
    server.kill9();
    server.restart();
    let mut usurper = eventually("the id comes back", SOON, || {
        Some(database.conn()).filter(|conn| conn.connection_id() >= id)
    });
    assert_eq!(usurper.connection_id(), id);
    usurper.exec_drop("DO GET_LOCK(?, 0)", (lock_of(&database, "q"),)).unwrap();
    assert_eq!(holder(&mut usurper, &database, "q"), Some(id));

    assert!(lease.is_held(), "it believes still");
    let jobs = eventually("the pool has noticed", SOON, || lease.grab(10).ok());
    assert!(jobs.is_empty());
    assert!(grabbed(&mut usurper).is_empty());
    mark(&mut usurper, job, Some(1));
    assert_eq!(lease.recover(&|_, _| false), Ok(0));
    assert_eq!(grabbed(&mut usurper), [job]);
    assert!(lease.is_held());
}

#[test]
fn a_lock_granted_to_a_silent_waiter_comes_free_within_seconds() {
    let server = mariadb::shared();
    let database = server.create_database();
    let proxy = Proxy::to(server.port());
    let mut blocker = database.conn();
    let lock = lock_of(&database, "q");
    blocker.exec_drop("DO GET_LOCK(?, 0)", (&lock,)).unwrap();
    let silent = Node::start(&database.dsn_at(proxy.port()), LONG);
    let _campaign = silent.campaign("q");
    waits_inside_the_server(&mut blocker, &database);
    proxy.freeze();
    blocker.exec_drop("DO RELEASE_LOCK(?)", (&lock,)).unwrap();
    let other = Node::start(&database.dsn(), LONG);
    granted(&*other.campaign("q"));
}

/// Set in the child process that is killed.
const VICTIM: &str = "FIREWORQ_TEST_LEASE_VICTIM";

#[test]
fn another_node_takes_over_from_one_that_is_killed() {
    const NAME: &str = "another_node_takes_over_from_one_that_is_killed";
    if let Some(dsn) = std::env::var_os(VICTIM) {
        let node = Node::start(dsn.to_str().unwrap(), LONG);
        let campaigns = ["a", "b", "c"].map(|queue| node.campaign(queue));
        campaigns.iter().for_each(|campaign| drop(granted(&**campaign)));
        println!("\nleading");
        std::io::stdout().flush().unwrap();
        std::thread::sleep(Duration::from_secs(600));
    }
    let database = mariadb::shared().create_database();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(VICTIM, database.dsn())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "leading"));
    let node = Node::start(&database.dsn(), LONG);
    let campaigns = ["a", "b", "c"].map(|queue| node.campaign(queue));
    // A lock that nobody holds shows that the node has looked.
    granted(&*node.campaign("free"));
    assert!(campaigns.iter().all(|campaign| campaign.lease().is_none()));
    victim.kill().unwrap();
    campaigns.iter().for_each(|campaign| drop(granted(&**campaign)));
    victim.wait().unwrap();
}
