//! The stores under test.

use std::ops::Deref;
use std::sync::Arc;

use fireworq::config::{self, Command};
use fireworq::store::Store;
use fireworq::store::memory::MemoryStore;
use fireworq::store::mysql::MySqlStore;
use fireworq::store::sqlite::SqliteStore;

use crate::support::mariadb;

/// A store with nothing in it.
pub struct Subject {
    open: Box<dyn Fn() -> Arc<dyn Store>>,
}

/// What is checked: a function over one node of a store, or over two nodes on the same contents.
/// Where a store lives in one process, the two are the same.
pub trait Property<Nodes> {
    /// Panics if `subject` does not have it.
    fn check(self, subject: &Subject);
}

impl<P: Fn(&dyn Store)> Property<[(); 1]> for P {
    fn check(self, subject: &Subject) {
        self(&*subject.open());
    }
}

impl<P: Fn(&dyn Store, &dyn Store)> Property<[(); 2]> for P {
    fn check(self, subject: &Subject) {
        self(&*subject.open(), &*subject.open());
    }
}

impl Subject {
    /// A node on the contents of this store.
    fn open(&self) -> Node {
        Node((self.open)())
    }
}

/// A node that is closed when its property has been checked.
struct Node(Arc<dyn Store>);

impl Deref for Node {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The in-memory driver.
pub fn memory() -> Subject {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    Subject { open: Box::new(move || Arc::clone(&store)) }
}

/// The embedded driver on a file of its own, which one process has at a time.
pub fn sqlite() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let opened = SqliteStore::open(&directory.path().join("jobs.db")).unwrap();
    let store: Arc<dyn Store> = Arc::new(opened);
    Subject {
        open: Box::new(move || {
            // Kept until the property has been checked.
            let _ = &directory;
            Arc::clone(&store)
        }),
    }
}

/// The MySQL driver on a database of its own.
pub fn mysql() -> Subject {
    let dsn = mariadb::shared().create_database().dsn();
    Subject {
        open: Box::new(move || {
            let arguments = [format!("--mysql-dsn={dsn}").into()];
            let Ok(Command::Run(settings)) = config::parse(arguments, &|_| None) else {
                panic!("the settings are not accepted");
            };
            Arc::new(MySqlStore::open(&settings).unwrap())
        }),
    }
}
