//! The console as people use it: the real daemon and a real browser, by mouse and by keyboard.
//!
//! One browser serves all tests of this binary, one after the other (`page::Page`). What each
//! action does is looked up through the API. After every test the browser must have complained of
//! nothing and asked no other host for anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

/// Makes a test of each function on the embedded store and on MariaDB.
macro_rules! on_both_stores {
    ($($test:ident)+) => {
        mod sqlite { $( #[test] fn $test() { super::$test($crate::stores::Store::Sqlite); } )+ }
        mod mysql { $( #[test] fn $test() { super::$test($crate::stores::Store::Mysql); } )+ }
    };
}

#[path = "console"]
mod scenarios {
    pub mod access;
    pub mod contact;
    pub mod failures;
    pub mod files;
    pub mod hostile;
    pub mod jobs;

    pub mod many;
    pub mod new_job;
    pub mod node_page;
    pub mod queues;
    pub mod routings;
    pub mod screenshots;
}

#[path = "http_contract/node.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod node;
/// Answers are compared with the API's description by `tests/http_contract.rs`. Those of the
/// browser's driver, which come by here too, have another one.
mod openapi {
    pub fn check(_: &str, _: &str, _: &crate::support::http::Answer) {}
}
#[path = "console/page.rs"]
mod page;
#[path = "http_contract/stores.rs"]
#[allow(dead_code, unused_macros, unused_imports, reason = "a part of it is used here")]
mod stores;
