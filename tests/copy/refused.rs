//! What is refused, before anything is written.

use std::path::Path;

use fireworq::copy::{self, CopyError};
use fireworq::store::CopyNote;
use mysql::prelude::Queryable;

use super::support::daemon::Options;
use super::support::mariadb;
use super::support::wait::{SOON, eventually};
use super::{
    content, fill, must_copy, mysql, open, place_of_file, push, push_more, run_copy, settings,
    sqlite,
};

#[test]
fn a_target_that_was_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let from = sqlite(&folder.path().join("from.db"));
    let to = sqlite(&folder.path().join("to.db"));
    let (source, target) = (open(&from), open(&to));
    fill(&*source);
    copy::copy(&*source, &*target, &mut |_| ()).unwrap();
    // One job was done there since: it must not come back.
    let done = content(&*target).2[3].id;
    target.delete_job("a.b", done).unwrap();
    let again = copy::copy(&*source, &*target, &mut |_| ());
    assert!(matches!(again, Err(CopyError::Differs(_))), "{again:?}");
    assert_eq!(target.job("a.b", done), Ok(None));
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let path = folder.path().join("used.db");
    let used = [format!("sqlite:{}", path.display()), format!("mysql:{}", database.dsn())];
    let free = format!("sqlite:{}", folder.path().join("free.db").display());
    let filled = folder.path().join("filled.db");
    let store = open(&sqlite(&filled));
    push(&*store, "q", 1);
    store.close();
    let filled = place_of_file(&filled);
    let file = Options::new().flag("driver", "sqlite").flag("sqlite-path", path.to_str().unwrap());
    let mut daemons = [file, Options::on(&database.dsn()).flag("queue-default", "default")]
        .map(|options| options.start());
    for daemon in &daemons {
        eventually("a primary", SOON, || {
            let stats = crate::support::http::get(daemon.address(), "/queue/default/stats");
            (stats.status == 200 && stats.json()["active_nodes"] == 1).then_some(())
        });
    }
    for place in &used {
        for (code, said) in [run_copy(place, &free), run_copy(&filled, place)] {
            assert_eq!(code, Some(1), "{place}: {said}");
            assert!(said.contains("in use"), "{place}: {said}");
        }
    }
    daemons.iter_mut().for_each(|daemon| assert_eq!(daemon.stop(), 0));
    for place in &used {
        must_copy(place, &free);
    }
}

#[test]
fn a_store_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let free = format!("sqlite:{}", folder.path().join("free.db").display());
    let (code, said) = run_copy("mysql:user:secret@tcp(127.0.0.1:1)/db", &free);
    assert_eq!(code, Some(1));
    assert!(!said.contains("secret") && said.contains("fireworq: "), "{said}");
    let memory = open(&settings(&["--driver=in-memory"]));
    let target = open(&sqlite(&folder.path().join("to.db")));
    let copied = copy::copy(&*memory, &*target, &mut |_| ());
    assert!(matches!(copied, Err(CopyError::NotPossible(_))), "{copied:?}");
}

#[test]
fn what_is_refused_has_changed_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let path = folder.path().join("from.db");
    let source = open(&sqlite(&path));
    fill(&*source);
    push_more(&*source, "other", 3);
    source.close();
    let file = folder.path().join("to.db");
    for (target, place) in [
        (sqlite(&file), place_of_file(&file)),
        (mysql(&database.dsn()), format!("mysql:{}", database.dsn())),
    ] {
        // The second queue has been used here, and is defined otherwise.
        let store = open(&target);
        push(&*store, "other", 1);
        let (queues, routings, ..) = content_of_definitions(&*store);
        store.close();
        let (code, said) = run_copy(&place_of_file(&path), &place);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("queue other, job 1"), "{said}");
        let store = open(&target);
        assert_eq!(content_of_definitions(&*store), (queues, routings));
        let transfer = store.transfer().unwrap();
        assert_eq!(transfer.queues_with_tables().unwrap(), ["other"]);
        assert_eq!(transfer.copy_note("other"), Ok(None));
        assert_eq!(transfer.jobs_after("other", 0, 10).unwrap().len(), 1);
        store.close();
    }
}

fn content_of_definitions(
    store: &dyn fireworq::store::Store,
) -> (Vec<fireworq::queue_definition::QueueDefinition>, Vec<fireworq::queue_definition::Routing>) {
    let definitions = store.definitions().unwrap();
    (definitions.queues, definitions.routings)
}

#[test]
fn a_queue_that_would_share_tables_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
    let (source, target) = (open(&sqlite(&from)), open(&sqlite(&to)));
    push(&*source, "a", 1);
    push(&*source, "m.q", 1);
    push(&*target, "m-q", 0);
    let copied = copy::copy(&*source, &*target, &mut |_| ());
    assert!(matches!(copied, Err(CopyError::Differs(_))), "{copied:?}");
    assert_eq!(target.transfer().unwrap().queues_with_tables().unwrap(), ["m_q"]);
}

#[test]
fn a_missing_source_is_refused_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| place_of_file(&folder.path().join(name));
    let database = mariadb::shared().create_database();
    let (code, said) = run_copy(&inside("no/such.db"), &inside("new/to.db"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no/such.db"), "{said}");
    // A database of a wrong name is as good as none.
    let (code, said) = run_copy(&format!("mysql:{}", database.dsn()), &inside("new/to.db"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing to copy"), "{said}");
    let tables: Vec<String> = database.conn().query("SHOW TABLES").unwrap();
    assert!(tables.is_empty(), "{tables:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_cannot_be_used_is_an_error_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("from.db");
    let store = open(&sqlite(&path));
    push(&*store, "q", 1);
    store.close();
    for (from, to) in [("mysql:nonsense", place_of_file(&folder.path().join("to.db")))]
        .into_iter()
        .chain([(place_of_file(&path).as_str(), "mysql:nonsense".to_owned())])
    {
        let (code, said) = run_copy(from, &to);
        assert_eq!(code, Some(2), "{said}");
    }
}

#[test]
fn a_store_is_not_copied_into_itself() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let path = folder.path().join("from.db");
    let file = place_of_file(&path);
    for target in [sqlite(&path), mysql(&database.dsn())] {
        let store = open(&target);
        push(&*store, "q", 1);
        store.close();
    }
    std::os::unix::fs::symlink(&path, folder.path().join("link.db")).unwrap();
    let link = place_of_file(&folder.path().join("link.db"));
    let dsn = format!("mysql:{}", database.dsn());
    let other_dsn = format!("{dsn}?charset=utf8mb4");
    for (from, to) in [(&file, &file), (&file, &link), (&dsn, &dsn), (&dsn, &other_dsn)] {
        let (code, said) = run_copy(from, to);
        assert_eq!(code, Some(1), "{from} {to}: {said}");
        assert!(said.contains("the source and the target are the same"), "{from} {to}: {said}");
    }
}

#[test]
fn a_row_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let path = folder.path().join("from.db");
    let store = open(&sqlite(&path));
    push(&*store, "q", 2);
    let transfer = store.transfer().unwrap();
    let mut large = transfer.jobs_after("q", 1, 1).unwrap().remove(0);
    large.id = 9;
    large.payload = vec![b'x'; 16_777_215];
    let last = transfer.last_ids("q").unwrap();
    transfer.begin_copy("q", CopyNote { arrived: last, last }).unwrap();
    transfer.import_jobs("q", &[large]).unwrap();
    store.close();
    let (code, said) = run_copy(&place_of_file(&path), &format!("mysql:{}", database.dsn()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("queue q, job 9") && said.contains("max_allowed_packet"), "{said}");
    let target = open(&mysql(&database.dsn()));
    assert!(target.transfer().unwrap().queues_with_tables().unwrap().is_empty());
    target.close();
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let store = open(&mysql(&database.dsn()));
    push(&*store, "q", 3);
    store.close();
    let change = "UPDATE `fireworq_jq(q)` SET url = X'68FF' WHERE job_id = 2";
    database.conn().query_drop(change).unwrap();
    let to = folder.path().join("to.db");
    let from = format!("mysql:{}", database.dsn());
    let (code, said) = run_copy(&from, &place_of_file(&to));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("queue q, job 2") && said.contains("UTF-8"), "{said}");
    database.conn().query_drop("DELETE FROM `fireworq_jq(q)` WHERE job_id = 2").unwrap();
    must_copy(&from, &place_of_file(Path::new(&to)));
}
