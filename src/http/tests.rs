//! The front against real sockets.

mod fixture;
mod framing;
mod fuzz;
mod lifecycle;
mod limits;
