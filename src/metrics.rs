//! Figures for Prometheus: what is counted, and the text in which `/metrics` shows it.
//!
//! Each metric is declared once, in [`table`]; the page of the documentation and the checks of
//! the alert rules and the dashboard come from there. Whoever counts does an atomic addition or
//! two, without a lock and without memory; all the work is done by who reads. What concerns the
//! process as a whole is static: there is one process, and one set of its figures. A queue's
//! figures belong to the queue. A label's value is the name of a queue, a word of a fixed list or
//! a status of ours, never a part of a URL or of a payload.

pub mod instrument;
pub mod page;
pub mod process;
pub mod queue;
pub mod store;
pub mod table;

pub use instrument::{Counter, Histogram};
pub use page::{Form, Page, labels};
pub use queue::QueueMetrics;
pub use store::STORE;
