//! The front against real sockets.

mod fixture;
mod framing;
mod lifecycle;
mod limits;
