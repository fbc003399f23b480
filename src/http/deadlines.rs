//! The deadlines of one thread's connections, soonest first.
//!
//! A connection's deadline moves with each request, mostly to later. It therefore keeps one entry
//! here, its alarm, which may come too early and is then set again; nothing is done here as long
//! as the deadline only moves to later. Entries that no longer count are recognised when they come
//! up, and swept out when they are many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::readiness::Token;

/// Below so many entries a sweep is not worth it.
const SWEEP_FROM: usize = 1024;

#[derive(Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, Token)>>,
}

impl Deadlines {
    pub(super) fn set(&mut self, at: Instant, token: Token) {
        self.heap.push(Reverse((at, token)));
    }

    /// The time of the next alarm.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one alarm that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Token)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops the entries that no longer count, once they outnumber the connections by far.
    pub(super) fn sweep(&mut self, connections: usize, counts: impl Fn(Instant, Token) -> bool) {
        if self.heap.len() > SWEEP_FROM.max(connections.saturating_mul(4)) {
            self.heap.retain(|Reverse((at, token))| counts(*at, *token));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn alarms_come_in_order_and_not_too_early() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.set(at(3), Token(3));
        deadlines.set(at(1), Token(1));
        deadlines.set(at(2), Token(2));
        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!(deadlines.pop_due(start), None);
        assert_eq!(deadlines.pop_due(at(2)), Some((at(1), Token(1))));
        assert_eq!(deadlines.pop_due(at(2)), Some((at(2), Token(2))));
        assert_eq!(deadlines.pop_due(at(2)), None);
    }

    #[test]
    fn entries_that_no_longer_count_are_swept_out() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        for number in 0..=SWEEP_FROM as u64 {
            deadlines.set(start, Token(number));
        }
        deadlines.sweep(SWEEP_FROM, |_, _| false);
        assert_eq!(deadlines.heap.len(), SWEEP_FROM + 1, "not many for so many connections");
        deadlines.sweep(10, |_, token| token == Token(7));
        assert_eq!(deadlines.heap.len(), 1);
    }
}
