//! Waking a thread that sleeps until there is something to do.
//!
//! A wake-up that comes while the thread is busy is kept, several count as one, and none
//! ever blocks the caller.

use crossbeam_channel::{Receiver, Sender, bounded};

/// The end that wakes. Cheap to clone and to call from any thread.
#[derive(Clone, Debug)]
pub struct Wake(Sender<()>);

impl Wake {
    /// A wake and the receiver that the woken thread waits on.
    pub fn channel() -> (Wake, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Wake(sender), receiver)
    }

    /// Wakes the thread, now or when it next waits.
    pub fn wake(&self) {
        // Full means that a wake-up is already waiting; disconnected that nobody sleeps any more.
        let _ = self.0.try_send(());
    }
}
