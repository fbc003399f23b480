//! What the daemon tells systemd, or another service manager with its protocol. Without one,
//! that is nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// It takes requests.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It is alive. To be said every [`beat_interval`].
pub fn beat() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`beat`] is awaited: half the time after which the daemon would be taken for hung.
/// `None` where nobody watches.
pub fn beat_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero()).map(|time| time / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot tell the service manager {states:?}: {error}");
    }
}
