//! One look for due jobs in all queues of a node that have nothing to do.
//!
//! Hundreds of idle queues would ask one by one, five times a second each. Whichever asks first
//! asks for all that asked lately, and the others take its answer as long as it is young enough
//! for them. It only ever spares a grab that would find nothing: a queue that is woken by a push
//! grabs without asking here.
//!
//! Called by the threads that poll. Those who need the same answer wait for the one who asks,
//! which is within the bounds of the pool; nothing else waits for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::LEASE;
use crate::store::mysql::pool::Pool;
use crate::store::sql::Tables;
use crate::store::{StoreError, Token};

/// Who has not asked for this long is not asked for.
const REMEMBERED: Duration = Duration::from_secs(1);
/// How many queues one statement looks at.
const QUEUES_A_STATEMENT: usize = 50;

/// What the idle queues of one database share.
pub(super) struct Looks {
    pool: Arc<Pool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who asked, by the token of its lease, and when it did last.
    asking: HashMap<Token, (Tables, Instant)>,
    last: Option<Look>,
}

/// A look at those who were asking.
struct Look {
    /// When it began.
    at: Instant,
    looked_at: HashSet<Token>,
    due: HashSet<Token>,
}

impl Looks {
    pub(super) fn new(pool: Arc<Pool>) -> Looks {
        Looks { pool, state: Mutex::default() }
    }

    /// Whether a job is due in the queue of this lease, as of at most `max_age` ago. True as well
    /// where that cannot be told: the grab that follows tells.
    pub(super) fn any_due(&self, token: Token, tables: &Tables, max_age: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.asking.insert(token, (tables.clone(), now));
        let answer = state.last.as_ref().and_then(|look| {
            let is_young = look.at.elapsed() <= max_age && look.looked_at.contains(&token);
            is_young.then(|| look.due.contains(&token))
        });
        if let Some(answer) = answer {
            return answer;
        }
        state.asking.retain(|_, (_, asked_at)| now - *asked_at < REMEMBERED);
        // Failed, it says nothing about any of them.
        state.last = self.look(&state.asking).ok();
        state.last.as_ref().is_none_or(|look| look.due.contains(&token))
    }

    /// Forgets a lease that has ended.
    pub(super) fn forget(&self, token: Token) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).asking.remove(&token);
    }

    fn look(&self, asking: &HashMap<Token, (Tables, Instant)>) -> Result<Look, StoreError> {
        let at = Instant::now();
        let tokens: Vec<Token> = asking.keys().copied().collect();
        let mut due = HashSet::new();
        for (number, some) in tokens.chunks(QUEUES_A_STATEMENT).enumerate() {
            let looks = some.iter().enumerate().filter_map(|(place, token)| {
                let (tables, _) = asking.get(token)?;
                let index = number * QUEUES_A_STATEMENT + place;
                Some(LEASE.any_due.with(tables, &[[index]]))
            });
            let statement = looks.collect::<Vec<String>>().join(" UNION ALL ");
            let rows: Vec<(usize, Option<bool>)> =
                self.pool.with(|session| session.query_rows(&statement))?;
            let found = rows.into_iter().filter(|(_, is_due)| *is_due == Some(true));
            due.extend(found.filter_map(|(index, _)| tokens.get(index)));
        }
        Ok(Look { at, looked_at: tokens.into_iter().collect(), due })
    }
}
