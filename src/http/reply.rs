//! The way back of an answer: from any thread into the mailbox of the thread that owns the
//! connection, with one wake-up for all that gathers while that thread sleeps.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Response;
use super::memory::Share;
use super::readiness::{Token, Waker};

/// What has become of a request.
pub(super) enum Answer {
    Response(Response),
    /// The [`Reply`] was dropped unsent.
    Lost,
}

/// An answer and the connection that it is for.
pub(super) struct Letter {
    pub(super) token: Token,
    pub(super) answer: Answer,
}

/// Answers the request that it came with. Dropped unsent, by a panic or with a queue that is given
/// up, it answers 500. A client that has left meanwhile is no matter.
pub struct Reply {
    mailbox: Arc<Mailbox>,
    token: Token,
    is_sent: bool,
    /// The memory of the request's body, which counts until the request is answered, also when
    /// its client has left.
    share: Option<Share>,
}

impl Reply {
    pub(super) fn new(mailbox: &Arc<Mailbox>, token: Token, share: Option<Share>) -> Reply {
        Reply { mailbox: Arc::clone(mailbox), token, is_sent: false, share }
    }

    /// Sends the answer. Never blocks; may be called on any thread.
    pub fn send(mut self, response: Response) {
        self.put(Answer::Response(response));
    }

    fn put(&mut self, answer: Answer) {
        self.is_sent = true;
        // Before the client can know: it may at once send the next body.
        self.share = None;
        self.mailbox.put(Letter { token: self.token, answer });
    }

    /// A reply for tests of handlers, and where its answer arrives.
    #[cfg(test)]
    pub fn for_test() -> (Reply, Sent) {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        (Reply::new(&mailbox, Token(0), None), Sent(mailbox))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_sent {
            self.put(Answer::Lost);
        }
    }
}

/// Where the answer of a [`Reply::for_test`] arrives.
#[cfg(test)]
pub struct Sent(Arc<Mailbox>);

#[cfg(test)]
impl Sent {
    /// The answer, if it was sent.
    pub fn take(&self) -> Option<Response> {
        let mut letters = Vec::new();
        self.0.take(&mut letters);
        letters.pop().and_then(|letter| match letter.answer {
            Answer::Response(response) => Some(response),
            Answer::Lost => None,
        })
    }
}

/// The answers that wait for the thread that owns their connections.
pub(super) struct Mailbox {
    contents: Mutex<Contents>,
    /// Whether the owner sleeps, or is about to, and has not been woken yet.
    is_asleep: AtomicBool,
    waker: Waker,
}

struct Contents {
    letters: Vec<Letter>,
    /// Whether the owner has ended: letters are then thrown away.
    is_closed: bool,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Mailbox> {
        Ok(Mailbox {
            contents: Mutex::new(Contents { letters: Vec::new(), is_closed: false }),
            is_asleep: AtomicBool::new(false),
            waker: Waker::new()?,
        })
    }

    /// What the owner adds to its poller.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Wakes the owner, whatever it does.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    fn put(&self, letter: Letter) {
        {
            let mut contents = self.contents();
            if contents.is_closed {
                return;
            }
            contents.letters.push(letter);
        }
        // Only who finds the owner asleep wakes it; while it is awake this costs nothing.
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Called by the owner before it sleeps; it must not if the answer is false. A letter that is
    /// put after this looked wakes it, since `is_asleep` is set before.
    pub(super) fn may_sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        self.contents().letters.is_empty()
    }

    /// Called by the owner after it slept.
    pub(super) fn awake(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Moves all letters to the end of `letters`.
    pub(super) fn take(&self, letters: &mut Vec<Letter>) {
        let mut contents = self.contents();
        if letters.is_empty() {
            mem::swap(letters, &mut contents.letters);
        } else {
            letters.append(&mut contents.letters);
        }
    }

    /// Called by the owner when it ends.
    pub(super) fn close(&self) {
        let mut contents = self.contents();
        contents.is_closed = true;
        contents.letters = Vec::new();
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_arrives_once_and_a_dropped_reply_is_known_as_lost() {
        let (reply, sent) = Reply::for_test();
        assert!(sent.take().is_none());
        reply.send(Response::from_string("hello"));
        assert_eq!(sent.take().unwrap().data_length(), Some(5));
        assert!(sent.take().is_none());

        let mailbox = Arc::new(Mailbox::new().unwrap());
        drop(Reply::new(&mailbox, Token(7), None));
        let mut letters = Vec::new();
        mailbox.take(&mut letters);
        assert!(matches!(letters[..], [Letter { token: Token(7), answer: Answer::Lost }]));
    }

    #[test]
    fn the_owner_does_not_sleep_over_a_letter_and_is_woken_by_one() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        assert!(mailbox.may_sleep());
        drop(Reply::new(&mailbox, Token(1), None));
        assert!(!mailbox.is_asleep.load(Ordering::SeqCst), "the owner has been woken");
        assert!(!mailbox.may_sleep());
        mailbox.close();
        drop(Reply::new(&mailbox, Token(2), None));
        assert!(mailbox.may_sleep(), "nobody reads a closed mailbox");
    }
}
