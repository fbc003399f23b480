//! What the MySQL store promises beyond the contract of all stores: what it does while the server
//! is away, slow or in other hands, and with databases that others made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use fireworq::config::{self, Command, ConfigError};
use fireworq::job::NewJob;
use fireworq::queue_definition::QueueDefinition;
use fireworq::store::mysql::MySqlStore;
use fireworq::store::{
    Definitions, Direction, FailureLog, FailureOrder, Inspection, Jobs, Listing, Page, Push,
    Pushed, Settled, Settlement, Step, Store, StoreError, Token,
};
use mysql::Conn;
use mysql::prelude::Queryable;

use support::mariadb::{self, Database, MariaDb};
use support::proxy::Proxy;
use support::wait::{SOON, eventually, until};

/// What the API promises for every call, whatever the server does.
const PROMISE: Duration = Duration::from_secs(5);
const ALL: Page = Page { limit: 1000, after: None, direction: Direction::Ascending };

fn open_with(arguments: &[&str]) -> Result<MySqlStore, ConfigError> {
    let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
    let Ok(Command::Run(settings)) = config::parse(arguments, &|_| None) else {
        panic!("the settings are not accepted");
    };
    MySqlStore::open(&settings)
}

fn open(dsn: &str) -> MySqlStore {
    open_with(&["--mysql-dsn", dsn]).unwrap()
}

fn queue(name: &str) -> QueueDefinition {
    QueueDefinition {
        name: name.to_owned(),
        polling_interval_ms: 200,
        max_workers: 20,
        max_dispatches_per_second: 0.0,
        max_burst_size: 0,
    }
}

fn push_of(queue: &str, payload: Vec<u8>) -> Push {
    let job = NewJob {
        category: "c".into(),
        url: "http://localhost/".into(),
        payload,
        run_after_s: 0,
        timeout_s: 0,
        retry_delay_s: 0,
        max_retries: 1,
    };
    Push { queue: queue.into(), job: std::sync::Arc::new(job) }
}

fn push(store: &MySqlStore, queue: &str) -> Result<Pushed, StoreError> {
    store.push(&[push_of(queue, b"{}".to_vec())]).remove(0)
}

/// Runs `call` and checks that it took no longer than promised.
#[track_caller]
fn in_time<T>(call: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let answer = call();
    assert!(begin.elapsed() < PROMISE, "it took {:?}", begin.elapsed());
    answer
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("not unavailable: {other:?}"),
    }
}

/// Marks rows as grabbed, as a lease does.
fn grab(database: &Database, queue: &str, token: Token) {
    let sql = format!("UPDATE `fireworq_jq({queue})` SET status = 'grabbed', grabber_id = ?");
    database.conn().exec_drop(sql, (token.0,)).unwrap();
}

fn settlement(queue: &str, pushed: &Pushed, token: Token, step: Step) -> Settlement {
    Settlement {
        queue: queue.into(),
        job_id: pushed.id,
        created_at_ms: pushed.created_at_ms,
        token,
        fail_count: 0,
        step,
    }
}

/// The sessions that others have in a database.
fn sessions(conn: &mut Conn, database: &Database) -> Vec<u64> {
    conn.exec(
        "SELECT id FROM information_schema.processlist WHERE db = ? AND id <> CONNECTION_ID()",
        (&database.name,),
    )
    .unwrap()
}

#[test]
fn a_dsn_is_checked_before_the_start() {
    for arguments in [
        &["--mysql-dsn", "root:secret@nowhere"][..],
        &["--queue-mysql-dsn", "root:secret@udp(h)/db"],
        &["--repository-mysql-dsn", "root:secret@tcp(h)/db?timeout=5"],
        &["--mysql-dsn", "root:secret@tcp(h)/db?tls=true", "--mysql-tls-ca", "/nonexistent"],
    ] {
        let error = open_with(arguments).err().unwrap();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn the_server_may_start_after_the_daemon() {
    let server = MariaDb::start();
    let database = server.create_database();
    server.kill9();
    let store = open(&database.dsn());
    for _ in 0..3 {
        assert_unavailable(in_time(|| store.revision()));
        assert_unavailable(in_time(|| push(&store, "q")));
        assert_unavailable(in_time(|| store.now_ms()));
    }
    server.restart();
    until("the queue is created", SOON, || store.put_queue(&queue("q")).is_ok());
    push(&store, "q").unwrap();
    assert_eq!(store.definitions().unwrap().queues, [queue("q")]);

    // And it may be started again at any time.
    server.kill9();
    assert_unavailable(in_time(|| push(&store, "q")));
    server.restart();
    until("a job is pushed", SOON, || push(&store, "q").is_ok());
    store.close();
}

#[test]
fn a_server_that_falls_silent_is_noticed() {
    let server = MariaDb::start();
    let database = server.create_database();
    let store = open(&database.dsn());
    store.put_queue(&queue("q")).unwrap();
    let pushed = push(&store, "q").unwrap();
    server.pause();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_unavailable(in_time(|| push(&store, "q"))));
        }
        scope.spawn(|| {
            let settlement = settlement("q", &pushed, Token(1), Step::Complete);
            assert_unavailable(in_time(|| store.settle(&[settlement])));
        });
        scope.spawn(|| assert_unavailable(in_time(|| store.revision())));
        scope.spawn(|| assert_unavailable(in_time(|| store.put_queue(&queue("r")))));
    });
    server.resume();
    until("a job is pushed", SOON, || push(&store, "q").is_ok());
    store.close();
}

#[test]
fn a_network_that_swallows_everything_is_noticed() {
    let database = mariadb::shared().create_database();
    let proxy = Proxy::to(mariadb::shared().port());
    let store = open(&database.dsn_at(proxy.port()));
    store.put_queue(&queue("q")).unwrap();
    proxy.freeze();
    let large = push_of("q", vec![b'x'; 12 << 20]);
    assert_unavailable(in_time(|| store.push(&[large]).remove(0)));
    assert_unavailable(in_time(|| push(&store, "q")));
    proxy.thaw();
    until("a job is pushed", SOON, || push(&store, "q").is_ok());
    // Connections that were closed meanwhile do no harm.
    proxy.close_connections();
    push(&store, "q").unwrap();
    proxy.cut();
    assert_unavailable(in_time(|| push(&store, "q")));
    proxy.mend();
    until("a job is pushed", SOON, || push(&store, "q").is_ok());
    store.close();
}

#[test]
fn sessions_that_an_admin_kills_are_replaced() {
    let database = mariadb::shared().create_database();
    let mut admin = mariadb::shared().conn();
    let store = open(&database.dsn());
    store.put_queue(&queue("q")).unwrap();
    for _ in 0..3 {
        push(&store, "q").unwrap();
        for id in sessions(&mut admin, &database) {
            // It may be gone by now.
            let _ = admin.query_drop(format!("KILL {id}"));
        }
        until("the sessions end", SOON, || sessions(&mut admin, &database).is_empty());
    }
    push(&store, "q").unwrap();
    store.close();
}

#[test]
fn sessions_that_the_server_ends_for_silence_are_replaced() {
    let database = mariadb::shared().create_database();
    let mut admin = mariadb::shared().conn();
    let dsn = database.dsn();
    let store = open_with(&["--mysql-dsn", &dsn, "--mysql-lease-time", "1"]).unwrap();
    store.put_queue(&queue("q")).unwrap();
    for _ in 0..2 {
        push(&store, "q").unwrap();
        until("the sessions end", SOON, || sessions(&mut admin, &database).is_empty());
    }
    push(&store, "q").unwrap();
    store.close();
}

#[test]
fn dropped_tables_come_back() {
    let database = mariadb::shared().create_database();
    let store = open(&database.dsn());
    store.put_queue(&queue("q")).unwrap();
    let mut conn = database.conn();
    conn.query_drop("DROP TABLE `fireworq_jq(q)`").unwrap();
    // A queue that is not defined gets no tables.
    let answers =
        store.push(&[push_of("none", vec![]), push_of("q", vec![]), push_of("q", vec![])]);
    assert!(matches!(answers[0], Err(StoreError::NotFound(_))), "{answers:?}");
    assert_eq!(answers[1].as_ref().unwrap().id + 1, answers[2].as_ref().unwrap().id);
    assert!(matches!(store.jobs("none", Listing::Waiting, &ALL), Err(StoreError::NotFound(_))));

    conn.query_drop("DROP TABLE `fireworq_jq_fail(q)`").unwrap();
    grab(&database, "q", Token(9));
    let failed = settlement("q", answers[1].as_ref().unwrap(), Token(9), Step::Fail(b"{}".into()));
    assert_eq!(store.settle(&[failed]).unwrap(), [Settled::Stored]);
    assert_eq!(store.failures("q", FailureOrder::Failed, &ALL).unwrap().len(), 1);

    conn.query_drop(format!("DROP DATABASE {}", database.name)).unwrap();
    assert_unavailable(store.revision());
    conn.query_drop(format!("CREATE DATABASE {}", database.name)).unwrap();
    until("the definitions are read", SOON, || store.definitions().is_ok());
    store.put_queue(&queue("q")).unwrap();
    push(&store, "q").unwrap();
    store.close();
}

#[test]
fn a_locked_table_holds_up_no_other_queue() {
    let database = mariadb::shared().create_database();
    let store = open(&database.dsn());
    for name in ["a", "b", "c"] {
        store.put_queue(&queue(name)).unwrap();
    }
    let mut other = database.conn();
    other.query_drop("LOCK TABLES `fireworq_jq(b)` WRITE").unwrap();
    let batch = ["a", "b", "c"].map(|name| push_of(name, vec![]));
    let answers = in_time(|| store.push(&batch));
    assert_unavailable(answers[1].clone());
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    for name in ["a", "c"] {
        assert_eq!(store.jobs(name, Listing::Waiting, &ALL).unwrap().len(), 1, "{name}");
    }
    other.query_drop("UNLOCK TABLES").unwrap();
    assert_eq!(store.jobs("b", Listing::Waiting, &ALL).unwrap().len(), 0);
    push(&store, "b").unwrap();
    store.close();
}

#[test]
fn a_locked_row_is_waited_for_but_not_for_ever() {
    let database = mariadb::shared().create_database();
    let store = open(&database.dsn());
    store.put_queue(&queue("q")).unwrap();
    let batch = vec![push_of("q", vec![]); 3];
    let pushed: Vec<Pushed> = store.push(&batch).into_iter().map(Result::unwrap).collect();
    grab(&database, "q", Token(5));
    let steps = [Step::Complete, Step::Retry, Step::Fail(b"{}".into())];
    let settlements: Vec<Settlement> = pushed
        .iter()
        .zip(steps)
        .map(|(pushed, step)| settlement("q", pushed, Token(5), step))
        .collect();
    let mut other = database.conn();
    other.query_drop("BEGIN").unwrap();
    other.query_drop("SELECT * FROM `fireworq_jq(q)` WHERE job_id = 2 FOR UPDATE").unwrap();
    assert_unavailable(in_time(|| store.settle(&settlements)));
    assert_eq!(store.jobs("q", Listing::Grabbed, &ALL).unwrap().len(), 3, "nothing is half done");
    other.query_drop("ROLLBACK").unwrap();
    assert_eq!(store.settle(&settlements).unwrap(), [Settled::Stored; 3]);
    assert_eq!(store.settle(&settlements).unwrap(), [Settled::Gone; 3]);
    let left = store.jobs("q", Listing::Waiting, &ALL).unwrap();
    assert_eq!(left.iter().map(|job| (job.id, job.fail_count)).collect::<Vec<_>>(), [(2, 1)]);
    assert_eq!(store.failures("q", FailureOrder::Failed, &ALL).unwrap().len(), 1);
    store.close();
}

#[test]
fn rows_that_are_gone_are_told_from_those_that_were_there() {
    let database = mariadb::shared().create_database();
    let store = open(&database.dsn());
    let mut settlements = Vec::new();
    for name in ["a", "b"] {
        store.put_queue(&queue(name)).unwrap();
        let batch = vec![push_of(name, vec![]); 600];
        for pushed in store.push(&batch) {
            settlements.push(settlement(name, &pushed.unwrap(), Token(5), Step::Complete));
        }
    }
    database.conn().query_drop("DELETE FROM `fireworq_jq(b)` WHERE job_id = 550").unwrap();
    let settled = store.settle(&settlements).unwrap();
    let gone: Vec<usize> =
        (0..settled.len()).filter(|&place| settled[place] == Settled::Gone).collect();
    assert_eq!(gone, [1149]);
    for name in ["a", "b"] {
        assert!(store.jobs(name, Listing::Waiting, &ALL).unwrap().is_empty());
    }
    store.close();
}

#[test]
fn ids_follow_the_servers_increment() {
    let server =
        MariaDb::start_with(&["--auto-increment-increment=5", "--auto-increment-offset=3"]);
    let database = server.create_database();
    let store = open(&database.dsn());
    store.put_queue(&queue("q")).unwrap();
    let batch: Vec<Push> =
        (0..50).map(|number| push_of("q", number.to_string().into_bytes())).collect();
    for (number, pushed) in store.push(&batch).into_iter().enumerate() {
        let job = store.job("q", pushed.unwrap().id).unwrap().unwrap();
        assert_eq!(job.payload, number.to_string().into_bytes());
    }
    store.close();
}

#[test]
fn what_does_not_fit_a_packet_fails_alone() {
    let server = MariaDb::start_with(&["--max-allowed-packet=1M"]);
    let database = server.create_database();
    for dsn in [database.dsn(), format!("{}?maxAllowedPacket=500000", database.dsn())] {
        let limit: usize = if dsn.contains('?') { 500_000 } else { 1 << 20 };
        let store = open(&dsn);
        store.put_queue(&queue("q")).unwrap();
        let sizes = [10, limit - 300, limit, limit - 300, 20];
        let batch = sizes.map(|size| push_of("q", vec![b'x'; size]));
        let answers = store.push(&batch);
        for (place, answer) in answers.iter().enumerate() {
            match answer {
                Err(StoreError::TooLarge(text)) => {
                    assert_eq!(place, 2);
                    assert!(text.contains(&format!("max_allowed_packet of {limit}")), "{text}");
                }
                answer => assert!(answer.is_ok() && place != 2, "{place}: {answer:?}"),
            }
        }
        store.close();
    }
    // More than one packet of the protocol.
    let server = MariaDb::start_with(&["--max-allowed-packet=64M"]);
    let store = open(&server.create_database().dsn());
    store.put_queue(&queue("q")).unwrap();
    let payload: Vec<u8> = (0..(1 << 24) - 1).map(|place: u32| place.to_le_bytes()[1]).collect();
    let pushed = store.push(&[push_of("q", payload.clone())]).remove(0).unwrap();
    assert!(store.job("q", pushed.id).unwrap().unwrap().payload == payload);
    store.close();
}

#[test]
fn tables_of_older_nodes_are_taken_over() {
    let database = mariadb::shared().create_database();
    let mut conn = database.conn();
    for sql in [
        "CREATE TABLE queue (name VARCHAR(255) NOT NULL PRIMARY KEY, polling_interval INT UNSIGNED \
         NOT NULL, max_workers INT UNSIGNED NOT NULL) ENGINE = InnoDB DEFAULT CHARSET = binary",
        "INSERT INTO queue VALUES ('q', 0, 0)",
        "CREATE TABLE `fireworq_jq(q)` (job_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         next_try BIGINT UNSIGNED NOT NULL, grabber_id BIGINT UNSIGNED, status ENUM('claimed', \
         'grabbed') NOT NULL DEFAULT 'claimed', created_at BIGINT UNSIGNED NOT NULL, retry_count INT \
         UNSIGNED NOT NULL DEFAULT 0, retry_delay INT UNSIGNED NOT NULL DEFAULT 0, fail_count INT \
         UNSIGNED NOT NULL DEFAULT 0, category VARCHAR(255) NOT NULL, url BLOB, payload MEDIUMBLOB, \
         timeout INT UNSIGNED, note TEXT, KEY grab (status, next_try)) ENGINE = InnoDB DEFAULT \
         CHARSET = binary",
        "INSERT INTO `fireworq_jq(q)` (next_try, created_at, category) VALUES (1, 2, 'c')",
    ] {
        conn.query_drop(sql).unwrap();
    }
    let store = open(&database.dsn());
    let definition = &store.definitions().unwrap().queues[0];
    assert_eq!((definition.name.as_str(), definition.max_burst_size), ("q", 0));
    let job = store.jobs("q", Listing::Waiting, &ALL).unwrap().remove(0);
    assert_eq!((job.url.as_str(), job.payload.as_slice(), job.timeout_s), ("", &b""[..], 0));

    grab(&database, "q", Token(3));
    let pushed = Pushed { id: job.id, created_at_ms: 2, next_try_ms: 1, is_grabbed: false };
    let failed = settlement("q", &pushed, Token(3), Step::Fail(b"{}".into()));
    assert_eq!(store.settle(&[failed]).unwrap(), [Settled::Stored]);
    let nulls: Option<(u64,)> = conn
        .query_first(
            "SELECT COUNT(*) FROM `fireworq_jq_fail(q)` WHERE url IS NULL OR payload IS NULL",
        )
        .unwrap();
    assert_eq!(nulls, Some((0,)), "what is written has values");
    store.close();
}

#[test]
fn the_right_to_create_tables_is_needed_only_where_they_are_missing() {
    let database = mariadb::shared().create_database();
    let store = open(&database.dsn());
    store.put_queue(&queue("q")).unwrap();
    store.close();
    let mut admin = mariadb::shared().conn();
    // A password of the kind that people complain about.
    for sql in [
        "CREATE USER 'modest'@'127.0.0.1' IDENTIFIED BY 'p@ss:w/o?r=d(x)'".to_owned(),
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO 'modest'@'127.0.0.1'",
            database.name
        ),
    ] {
        admin.query_drop(sql).unwrap();
    }
    let dsn = database.dsn().replace("root@", "modest:p@ss:w/o?r=d(x)@");
    let store = open(&dsn);
    assert!(store.describe().contains("modest@127.0.0.1:"), "{}", store.describe());
    assert!(!store.describe().contains("p@ss"), "{}", store.describe());
    store.put_queue(&QueueDefinition { max_workers: 7, ..queue("q") }).unwrap();
    push(&store, "q").unwrap();
    let text = assert_unavailable(store.put_queue(&queue("r")));
    assert!(text.contains("CREATE command denied"), "{text}");
    assert_eq!(store.definitions().unwrap().queues.len(), 1);
    store.close();

    let store = open(&dsn.replace("p@ss", "pass"));
    let text = assert_unavailable(store.revision());
    assert!(text.contains("Access denied for user 'modest'"), "{text}");
    store.close();
}

#[test]
fn sessions_obey_the_dsn_but_keep_what_is_safe() {
    let database = mariadb::shared().create_database();
    let socket: String = mariadb::shared().conn().query_first("SELECT @@socket").unwrap().unwrap();
    let utc_ms = || {
        let sql = "SELECT FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)";
        mariadb::shared().conn().query_first::<u64, _>(sql).unwrap().unwrap()
    };
    for address in [database.dsn(), format!("root@unix({socket})/{}", database.name)] {
        for options in [
            "?time_zone=%27%2B09:00%27&wait_timeout=28800&autocommit=0&sql_mode=%27ANSI%27",
            "?charset=utf8mb4,utf8&collation=utf8mb4_unicode_ci&parseTime=true&tls=preferred",
            "?charset=latin1&maxAllowedPacket=0",
        ] {
            let store = open(&format!("{address}{options}"));
            store.put_queue(&queue("あ")).unwrap();
            let before_ms = utc_ms();
            let pushed = store.push(&[push_of("あ", "é\u{0}\u{1F600}".into())]).remove(0).unwrap();
            // The store's clock may be behind by what its sample was late, never ahead.
            assert!(pushed.created_at_ms <= utc_ms(), "{options}");
            assert!(pushed.created_at_ms + 3000 > before_ms, "{options}");
            let job = store.job("あ", pushed.id).unwrap().unwrap();
            assert_eq!(job.payload, "é\u{0}\u{1F600}".as_bytes(), "{options}");
            assert_eq!(job.created_at_ms, pushed.created_at_ms);
            store.close();
        }
        let store = open(&format!("{address}?no_such_variable=1"));
        let text = assert_unavailable(store.revision());
        assert!(text.contains("no_such_variable"), "{text}");
        store.close();
    }
}

#[test]
fn definitions_and_jobs_may_lie_in_two_databases() {
    let (repository, queues) =
        (mariadb::shared().create_database(), mariadb::shared().create_database());
    let store = open_with(&[
        "--repository-mysql-dsn",
        &repository.dsn(),
        "--queue-mysql-dsn",
        &queues.dsn(),
    ])
    .unwrap();
    store.put_queue(&queue("q")).unwrap();
    push(&store, "q").unwrap();
    let tables =
        |database: &Database| -> Vec<String> { database.conn().query("SHOW TABLES").unwrap() };
    assert_eq!(tables(&queues), ["fireworq_jq(q)", "fireworq_jq_fail(q)"]);
    assert_eq!(tables(&repository), ["config_revision", "queue", "queue_throttle", "routing"]);
    assert!(store.describe().contains(&repository.name), "{}", store.describe());
    store.close();
}

#[test]
fn two_nodes_do_not_create_queues_that_share_tables() {
    let database = mariadb::shared().create_database();
    let stores = [open(&database.dsn()), open(&database.dsn())];
    for round in 0..10 {
        let names = [format!("a-{round}"), format!("a.{round}")];
        let created = std::thread::scope(|scope| {
            let threads: Vec<_> = stores
                .iter()
                .zip(&names)
                .map(|(store, name)| scope.spawn(move || store.put_queue(&queue(name))))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let conflicts =
            created.iter().filter(|answer| matches!(answer, Err(StoreError::Conflict(_)))).count();
        assert_eq!(conflicts, 1, "{created:?}");
    }
    let revision = stores[0].revision().unwrap();
    assert_eq!(revision.queues, 10);
    eventually("the other node sees it", SOON, || {
        (stores[1].revision().ok()? == revision).then_some(())
    });
    stores.iter().for_each(Store::close);
}
