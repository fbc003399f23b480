//! Who may run a queue's jobs, and for how long a node may believe that it is the one.
//!
//! # What decides
//!
//! **The database is the authority.** A queue has a lock (`GET_LOCK`; `name.rs`); whose session
//! holds it is the queue's primary, and there is never more than one. Queues of older databases
//! that share a table share its lock too. Every change that only the primary may make is one
//! statement that asks the server, while it runs, whether this is still so. What a node believes
//! can only ever keep it from acting, never entitle it.
//!
//! **The node's own clock decides when to stop believing.** The server frees the locks of a
//! session from which it has heard nothing for `wait_timeout` = the *lease time*. The node hears
//! of that late or never, so it counts for itself, from an earlier moment and to a shorter span:
//! a lease stands until the last answered statement of its session was *sent*, plus the lease
//! time, minus a margin (`terms.rs`), by `CLOCK_BOOTTIME`, which runs on while a machine is
//! suspended. Whoever is granted the lock next is granted it after that moment. Nobody's wall
//! clock takes part.
//!
//! **The end is noticed early where it can be**: a session that was killed, or whose server is
//! gone, has a readable socket; the thread that owns it sleeps on that socket and ends all its
//! leases within milliseconds. Workers look at [`is_held`](crate::store::Lease::is_held) before
//! each job, which is two atomics and a look at the clock.
//!
//! # The states of a queue on a node
//!
//! ```text
//!            campaign()                 lock granted
//!  (nothing) ─────────► wanted, not ours ─────────► lease held
//!                           ▲                         │ socket readable · statement failed ·
//!                           └──── lease lost ◄────────┘ deadline passed · campaign dropped
//! ```
//! A lost lease stays lost; standing again gives another lease with another token. A lease is
//! marked lost *before* its lock is released, so no successor meets a predecessor that believes.
//!
//! # Two sessions, however many queues
//!
//! The **holder** (`hold.rs`, thread `lease-hold`) keeps the locks of all queues that this node
//! leads, beats once a second and looks once a second whether another wanted lock came free, with
//! timeout 0. The **waiter** (`wait.rs`, thread `lease-wait`) holds nothing; it waits inside
//! `GET_LOCK`, a second at a time, for *one* lock that another node holds. Granted, it lets the
//! lock go and reports; the holder then looks at once, and that look takes everything that came
//! free with it. So the lock that matters is only ever taken by the one session whose end is
//! watched, and a session that waits holds nothing, so that no two nodes can wait for each other.
//! Should several waiters pass a lock on, the last to let go is followed by its holder's look.
//!
//! # Fence and token
//!
//! Connection ids start again with the server, so "`IS_USED_LOCK(queue)` is my id" may be true
//! for somebody else's session. A holder therefore also takes a **fence lock**, whose random name
//! no other session ever has, and fenced statements say `(SELECT IS_USED_LOCK(queue lock)) =
//! (SELECT IS_USED_LOCK(fence lock))`: true only while one session holds both; NULL, so false,
//! once the session is gone. MariaDB evaluates it once, when the statement starts, MySQL perhaps
//! for each row; both are a look into memory.
//!
//! A **token** marks the rows that a lease grabbed ([`crate::store::Token`]). Its upper 39 bits
//! are this process's, drawn at random from the operating system when the elector starts; the
//! lower 24 count its leases. A row is left alone by [`recover`](crate::store::Lease::recover)
//! only if this process has the job in hand under that row's token, be it a former lease's: a job
//! that still runs here when the database comes back from a restart is not run again.
//!
//! # What holds when things go wrong
//!
//! For each statement: what holds if its **reply** is lost; if its session falls **silent**; if
//! its session is **killed**; if the server **restarts**, so that connection ids repeat.
//!
//! *Opening the holder, taking its fence lock*
//! - reply: dropped, opened again after a pause; nobody else wants that fence lock
//! - silent: as before; it holds nothing but its fence, for `wait_timeout`
//! - killed: opened again
//! - restart: the fence's name is drawn anew for each session
//!
//! *`GET_LOCK(…, 0)` of the holder*
//! - reply: the session is dropped, and with it what it was granted; no lease began
//! - silent: freed after `wait_timeout`; no lease began
//! - killed, restart: freed; no lease began
//!
//! *`GET_LOCK(…, 1)` of the waiter*
//! - reply: the session is dropped; the server frees the lock when it sees the closed socket
//! - silent: a lock granted to it within that second is freed after 2 s more
//! - killed, restart: freed; the waiter waits again on a new session
//!
//! *Heartbeat*
//! - reply: not there in time, the session is dropped and all its leases end
//! - silent: the leases end by this node's clock, a margin before the server frees the locks
//! - killed, restart: the socket is readable, all leases end at once
//!
//! *`RELEASE_LOCK`*
//! - reply: the session is dropped, which releases too
//! - silent: freed after `wait_timeout`; the lease was marked lost before
//! - killed, restart: freed
//!
//! *The look of idle queues* (`look.rs`)
//! - any: nothing has happened; each grabs then, and hears what is wrong
//!
//! *Grab: its SELECT*
//! - any: nothing has happened
//!
//! *Grab: its UPDATE*
//! - reply: the rows carry our token and nobody knows them; the next `recover` puts them back
//! - silent: row locks end with the pooled session's own `wait_timeout`
//! - killed (the holder): no row, if that came first. Had the update begun before, it may still
//!   grab rows; they are not started here once the loss is seen, and the successor's next
//!   `recover` puts them back
//! - restart: the old fence is unknown there, no row
//!
//! *Push grabbed: its SELECT* (does the fence hold, is nothing due?)
//! - any: nothing has happened
//!
//! *Push grabbed: its INSERT*
//! - reply: stored or not; the client is told that nobody knows. If stored, the rows carry our
//!   token and nobody has them in hand; the next `recover` puts them back
//! - silent: as for grab
//! - killed (the holder) between the two: the rows are stored, and not started here once the loss
//!   is seen; the successor's next `recover` puts them back. That window is one round trip, as it
//!   is between a grab's UPDATE and its first job
//! - restart: the session of the SELECT is gone as well
//!
//! *Recover: its UPDATE*
//! - reply: done or not; the next one finds the rest. One that the network delivers so late that
//!   its rows have been recovered and grabbed again under the same lease puts back jobs that run:
//!   they may be delivered twice, as jobs under delivery during a fault may
//! - silent: as for grab
//! - killed (the holder): as for grab; it changes only rows still grabbed by whom they were seen
//!   with, never those of the successor
//! - restart: no row
//!
//! *Put back*
//! - reply: done or not; `recover` finds the rest
//! - silent: as for grab
//! - killed (the holder), restart: works; it is guarded by the token, which nobody else has
//!
//! *Settle*
//! - reply: repeated until it is answered; a row already gone is `Gone`
//! - silent: as for grab
//! - killed (the holder), restart: works; it is guarded by id and `created_at`, or by the token
//!
//! # Recovery beside settlement
//!
//! `recover` reads the grabbed rows, decides, and changes those by id. Meanwhile outcomes are
//! settled on other connections. A row settled in between is deleted or `claimed`, and the
//! update, guarded by `grabbed`, passes it by. It cannot have been grabbed again in between: only
//! the primary grabs, and it does not do both at once. A job is known from its grab until its
//! outcome is *stored*, so a row of ours that is not known was never handed to a worker.
//!
//! # What this must never do
//!
//! Hold a lock on a session whose socket nobody watches; extend a lease from when an answer
//! *arrived*; start a second statement after an error that is not the server's own answer.

mod candidate;
mod elector;
mod hang_up;
mod hold;
mod look;
mod name;
mod rows;
mod session;
mod standing;
mod terms;
mod token;
mod wait;

pub use elector::Elector;

use crate::store::sql::statements;

statements! {
    /// Locks, and what only the primary does to rows.
    LEASE: LeaseStatements = "lease.sql" {
        set_wait_timeout, database, take_locks, own_locks, release_locks, wait_for_lock,
        lock_holder, session_host, may_push_grabbed, any_due, due_jobs, grab_jobs, jobs_grabbed_by,
        grabbed_jobs, recover_jobs, put_back_jobs,
    }
}
