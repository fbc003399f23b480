//! Two nodes on one database.

use std::time::Duration;

use mysql::prelude::Queryable;
use serde_json::json;

use crate::node::Node;
use crate::stores::{Place, Store};
use crate::support::daemon::Options;
use crate::support::mariadb::{self, Database};
use crate::support::wait::{SOON, until};
use crate::support::worker::Worker;
use crate::workers::{Held, count, wait_for};

fn two_nodes(settings: &[&str]) -> (Node, Node, Place) {
    let place = Store::Mysql.place();
    let one = place.node(settings);
    let two = place.node(settings);
    (one, two, place)
}

#[test]
fn a_definition_is_known_to_the_other_node_at_once() {
    // So long that only looking when asked can be meant.
    let (one, two, _place) = two_nodes(&["config-refresh-interval=3600000"]);
    assert_eq!(two.get("/queues").text(), "[]");
    let queue = one.queue(&json!({"max_workers": 3}));
    let path = format!("/queue/{}", queue.name);
    assert_eq!(two.get(&path).text(), one.get(&path).text());
    assert_eq!(two.get("/queues").text(), one.get("/queues").text());
    assert_eq!(two.get("/routings").text(), one.get("/routings").text());
    assert_eq!(two.get(&format!("{path}/stats")).status, 200);
    let worker = Worker::successful();
    let job = json!({ "url": worker.url("/") }).to_string();
    let answer = two.post(&format!("/job/{}", queue.name), &job);
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_for(&worker, 1);
    let other = one.queue(&json!({}));
    let answer = two.post(&format!("/job/{}", other.name), &job);
    assert_eq!(answer.json()["queue_name"], other.name.as_str());
    wait_for(&worker, 2);
}

#[test]
fn a_change_reaches_the_other_node_in_time() {
    let (one, two, _place) = two_nodes(&["config-refresh-interval=200"]);
    let (first, second) = (one.queue(&json!({})), one.queue(&json!({})));
    let job = json!({"url": "http://127.0.0.1:1/", "run_after": 3600}).to_string();
    let pushed_to = || {
        let answer = two.post(&format!("/job/{}", first.name), &job);
        if answer.status == 200 { answer.json()["queue_name"].to_string() } else { String::new() }
    };
    assert_eq!(pushed_to(), format!("{:?}", first.name));
    let routing = json!({ "queue_name": second.name }).to_string();
    one.put(&format!("/routing/{}", first.name), routing);
    until("the new routing is known", SOON, || pushed_to() == format!("{:?}", second.name));
    one.delete(&format!("/queue/{}", second.name));
    until("the deletion is known", SOON, || pushed_to().is_empty());
    assert!(two.get("/queues/stats").json().get(&second.name).is_none());
}

#[test]
fn one_node_is_primary_and_both_take_jobs() {
    let (one, two, _place) = two_nodes(&[]);
    let queue = one.queue(&json!({"max_workers": 4}));
    let name = queue.name.clone();
    let active = |node: &Node| node.queue_of(&name).stat("active_nodes");
    until("both know the queue", SOON, || two.get(&format!("/queue/{name}/stats")).status == 200);
    until("one node is primary", SOON, || active(&one) + active(&two) == 1);
    let worker = Worker::successful();
    let jobs = vec![json!({ "url": worker.url("/") }); 30];
    one.queue_of(&name).push_burst(&jobs);
    two.queue_of(&name).push_burst(&jobs);
    wait_for(&worker, 60);
    queue.wait_until_empty();
    assert_eq!(count(&worker), 60);
    let (primary, backup) = if active(&one) == 1 { (&one, &two) } else { (&two, &one) };
    let stats = backup.queue_of(&name).stats();
    for key in ["total_workers", "idle_workers", "active_nodes", "outstanding_jobs", "total_pops"] {
        assert_eq!(stats[key], 0, "{key}");
    }
    assert_eq!(stats["total_pushes"], 30);
    primary.queue_of(&name).wait_for_stat("total_successes", 60);
    assert_eq!(primary.queue_of(&name).stat("total_pushes"), 30);
    let holder = primary.queue_of(&name).get("/node");
    assert_eq!(backup.queue_of(&name).get("/node").text(), holder.text());
}

#[test]
fn the_other_node_takes_over() {
    let (mut one, two, _place) = two_nodes(&[]);
    let queue = one.queue(&json!({}));
    let name = queue.name.clone();
    until("the first node is primary", SOON, || {
        one.queue_of(&name).stat("active_nodes") == 1
            || two.queue_of(&name).stat("active_nodes") == 1
    });
    let held = Held::succeeding();
    one.queue_of(&name).push_burst(&vec![json!({ "url": held.url("/") }); 5]);
    wait_for(&held, 5);
    one.kill9();
    held.let_go();
    let worker = Worker::successful();
    two.queue_of(&name).push(&json!({ "url": worker.url("/") }));
    worker.wait_for(1, Duration::from_secs(30));
    two.queue_of(&name).wait_until_empty();
    assert_eq!(two.queue_of(&name).stat("active_nodes"), 1);
}

#[test]
fn definitions_and_jobs_may_lie_in_different_databases() {
    let server = mariadb::shared();
    let (definitions, jobs) = (server.create_database(), server.create_database());
    let options = Options::new()
        .flag("repository-mysql-dsn", &definitions.dsn())
        .flag("queue-mysql-dsn", &jobs.dsn());
    let node = Node::new(options.start());
    assert_eq!(node.get("/settings").json()["driver"], "mysql");
    let queue = node.queue(&json!({}));
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 1);
    let tables = |database: &Database| -> Vec<String> {
        let mut tables: Vec<String> = database.conn().query("SHOW TABLES").unwrap();
        tables.sort_unstable();
        tables
    };
    assert_eq!(tables(&definitions), ["config_revision", "queue", "queue_throttle", "routing"]);
    let name = &queue.name;
    let expected = [format!("fireworq_jq({name})"), format!("fireworq_jq_fail({name})")];
    assert_eq!(tables(&jobs), expected);
}

#[test]
fn many_queues_need_few_sessions() {
    const QUEUES: usize = 40;
    let server = mariadb::shared();
    let database = server.create_database();
    let node = Node::new(Options::on(&database.dsn()).start());
    let worker = Worker::successful();
    let queues: Vec<_> = (0..QUEUES).map(|_| node.queue(&json!({}))).collect();
    for queue in &queues {
        queue.push(&json!({ "url": worker.url("/") }));
    }
    wait_for(&worker, QUEUES);
    for queue in &queues {
        until("this node is primary", SOON, || queue.stat("active_nodes") == 1);
    }
    let sessions: Option<usize> = server
        .conn()
        .exec_first(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = ?",
            (&database.name,),
        )
        .unwrap();
    assert!(sessions.is_some_and(|sessions| sessions <= 30), "{sessions:?} sessions");
}

#[test]
fn the_holder_is_a_session_of_the_server() {
    let place = Store::Mysql.place();
    let node = place.node(&[]);
    let queue = node.queue(&json!({}));
    until("this node is primary", SOON, || queue.get("/node").status == 200);
    let id: u64 = queue.get("/node").json()["id"].as_str().unwrap().parse().unwrap();
    let session: Option<u64> = mariadb::shared()
        .conn()
        .exec_first("SELECT id FROM information_schema.processlist WHERE id = ?", (id,))
        .unwrap();
    assert_eq!(session, Some(id));
    let path = format!("/queue/{}", queue.name);
    assert_eq!(node.delete(&path).status, 200);
    assert_eq!(node.get(&format!("{path}/node")).status, 404);
}
