//! What is counted of requests, by the row of the routes' table that they belong to. Counting is
//! an atomic addition or three on the thread that answers.

use std::time::Duration;

use crate::metrics::instrument::SHORT;
use crate::metrics::{Counter, Histogram};

/// The statuses that an answer can have.
const STATUSES: std::ops::Range<u16> = 200..600;

/// The figures of all routes.
pub(super) struct Figures {
    /// One a route, and one for the requests that belong to none.
    routes: Vec<RouteFigures>,
}

/// The figures of one route.
pub(super) struct RouteFigures {
    /// Answers, by status.
    codes: Vec<Counter>,
    /// How long they took, in microseconds.
    pub(super) time: Histogram,
}

impl Figures {
    /// Those of so many routes.
    pub(super) fn new(routes: usize) -> Figures {
        let route = || RouteFigures {
            codes: STATUSES.map(|_| Counter::new()).collect(),
            time: Histogram::new(&SHORT),
        };
        Figures { routes: std::iter::repeat_with(route).take(routes + 1).collect() }
    }

    /// Counts an answer to a request for this route.
    pub(super) fn count(&self, route: Option<usize>, status: u16, time: Duration) {
        let none = self.routes.len() - 1;
        let route = &self.routes[route.map_or(none, |route| route.min(none))];
        if let Some(code) = status.checked_sub(STATUSES.start).map(usize::from)
            && let Some(counter) = route.codes.get(code)
        {
            counter.add(1);
        }
        route.time.observe_time(time);
    }

    /// In the order of the table; the last one is of requests without a route.
    pub(super) fn routes(&self) -> &[RouteFigures] {
        &self.routes
    }
}

impl RouteFigures {
    /// The statuses that were answered so far, and how often.
    pub(super) fn codes(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = STATUSES.zip(self.codes.iter().map(Counter::get));
        counts.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_and_status() {
        let figures = Figures::new(2);
        for (route, status) in
            [(Some(1), 200), (Some(1), 499), (Some(1), 200), (None, 404), (Some(7), 599), (None, 0)]
        {
            figures.count(route, status, Duration::from_millis(1));
        }
        let codes: Vec<Vec<_>> =
            figures.routes().iter().map(|route| route.codes().collect()).collect();
        assert_eq!(codes, [vec![], vec![(200, 2), (499, 1)], vec![(404, 1), (599, 1)]]);
        assert_eq!(figures.routes()[1].time.read().count(), 3);
    }
}
