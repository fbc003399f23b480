//! The stores that the contract holds for, and daemons that run on them.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use mysql::prelude::Queryable;
use tempfile::TempDir;

use crate::node::Node;
use crate::openapi;
use crate::support::daemon::Options;
use crate::support::http;
use crate::support::mariadb::{self, Database};

/// Makes a test of each function for each store, named `<theme>::<store>::<function>`. One that
/// is left out is reported by the compiler as dead code.
macro_rules! on_every_store {
    ($($test:ident)+) => {
        on_every_store! { @one in_memory InMemory $($test)+ }
        on_every_store! { @one sqlite Sqlite $($test)+ }
        on_every_store! { @one mysql Mysql $($test)+ }
    };
    (@one $module:ident $store:ident $($test:ident)+) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test($crate::stores::Store::$store);
                }
            )+
        }
    };
}
pub(crate) use on_every_store;

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    InMemory,
    Sqlite,
    Mysql,
}

/// Where jobs are kept: a database, a folder with a file, or, with neither, the memory of the one
/// daemon that runs there.
pub struct Place {
    database: Option<Database>,
    folder: Option<TempDir>,
}

impl Store {
    /// The daemon that all tests of this binary share for this store, with its default settings.
    /// Queues and categories of different names keep tests apart.
    pub fn shared(self) -> &'static Node {
        static IN_MEMORY: OnceLock<Own> = OnceLock::new();
        static SQLITE: OnceLock<Own> = OnceLock::new();
        static MYSQL: OnceLock<Own> = OnceLock::new();
        match self {
            Store::InMemory => IN_MEMORY.get_or_init(|| self.node(&[])),
            Store::Sqlite => SQLITE.get_or_init(|| self.node(&[])),
            Store::Mysql => MYSQL.get_or_init(|| self.node(&[])),
        }
    }

    /// The value of the setting `driver`.
    pub fn driver(self) -> &'static str {
        match self {
            Store::InMemory => "in-memory",
            Store::Sqlite => "sqlite",
            Store::Mysql => "mysql",
        }
    }

    /// A place of one's own, with nothing in it.
    pub fn place(self) -> Place {
        let database = (self == Store::Mysql).then(|| mariadb::shared().create_database());
        let folder = (self == Store::Sqlite).then(|| tempfile::tempdir().unwrap());
        Place { database, folder }
    }

    /// A daemon of one's own at a place of its own, with these settings: `queue-default=q`.
    #[track_caller]
    pub fn node(self, settings: &[&str]) -> Own {
        let place = self.place();
        let node = place.node(settings);
        Own { node, _place: place }
    }
}

impl Place {
    /// A daemon that is to be started here with these further settings.
    pub fn options(&self, settings: &[&str]) -> Options {
        http::check_answers(openapi::check);
        let options = match (&self.database, &self.folder) {
            (Some(database), _) => Options::on(&database.dsn()),
            (None, Some(folder)) => {
                Options::new().flag("sqlite-path", folder.path().join("jobs.db").to_str().unwrap())
            }
            (None, None) => Options::new().flag("driver", "in-memory"),
        };
        settings.iter().fold(options, |options, setting| {
            let (name, value) = setting.split_once('=').expect("name=value");
            options.flag(name, value)
        })
    }

    /// The rows of a queue's table, each with its status and id.
    ///
    /// # Panics
    /// This is no database.
    pub fn rows(&self, queue: &str) -> Vec<(String, u64)> {
        let mut conn = self.database.as_ref().expect("a database").conn();
        let statement = format!("SELECT status, job_id FROM `fireworq_jq({queue})`");
        conn.query(statement).unwrap()
    }

    /// A daemon that runs here.
    #[track_caller]
    pub fn node(&self, settings: &[&str]) -> Node {
        Node::new(self.options(settings).start())
    }
}

/// A daemon and the place that goes with it.
pub struct Own {
    // Before the place, so that it ends first.
    node: Node,
    _place: Place,
}

impl Deref for Own {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}
