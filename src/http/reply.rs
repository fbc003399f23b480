//! The way back of an answer: from any thread into the mailbox of the thread that owns the
//! connection, with one wake-up for all that gathers while that thread sleeps.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Response;
use super::error::Refusal;
use super::memory::{Memory, Share};
use super::readiness::{Token, Waker};

/// An answer up to this many bytes does not count as memory and is never refused: the answers to
/// most pushes, and errors.
const SMALL_ANSWER_SIZE: usize = 64 * 1024;

/// What has become of a request.
pub(super) enum Answer {
    /// And its share of the memory, if it is not small.
    Response(Response, Option<Share>),
    /// The [`Reply`] was dropped unsent.
    Lost,
    /// There was no memory for it.
    Refused,
}

impl Answer {
    /// What the client gets, and its share of the memory.
    pub(super) fn into_parts(self, wants_problem: bool) -> (Response, Option<Share>) {
        match self {
            Answer::Response(response, share) => (response, share),
            Answer::Lost => (Refusal::new(500, "").response(wants_problem), None),
            Answer::Refused => (no_memory().response(wants_problem), None),
        }
    }
}

/// The refusal of a request for whose answer there is no memory.
pub(super) fn no_memory() -> Refusal {
    Refusal::unavailable("Too many large answers wait for their clients to read them")
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
    /// Whether the answer may be large whatever else is in memory by then.
    is_admitted: bool,
    /// The memory of the request's body, which counts until the request is answered, also when
    /// its client has left.
    share: Option<Share>,
}

impl Reply {
    pub(super) fn new(mailbox: &Arc<Mailbox>, token: Token, share: Option<Share>) -> Reply {
        Reply { mailbox: Arc::clone(mailbox), token, is_sent: false, is_admitted: false, share }
    }

    /// Answers whether there is memory for a large answer now, and if so, lets it have it later:
    /// what cannot be undone should not be done where its answer would be lost.
    pub(super) fn admit(&mut self) -> bool {
        self.is_admitted = self.mailbox.answers.has_room();
        self.is_admitted
    }

    /// Sends the answer. Never blocks; may be called on any thread. Where there is no memory for it
    /// the client is told to come back.
    pub fn send(mut self, response: Response) {
        let size = response.data_length().unwrap_or_default();
        let answer = if size <= SMALL_ANSWER_SIZE {
            Answer::Response(response, None)
        } else if let Some(mut share) = self.share.take_if(|share| covers(share, size)) {
            // It only shrinks, or lacks a few bytes.
            let _ = share.resize(size);
            Answer::Response(response, Some(share))
        } else if self.is_admitted || self.mailbox.answers.has_room() {
            Answer::Response(response, Some(Share::forced(&self.mailbox.answers, size)))
        } else {
            Answer::Refused
        };
        self.put(answer);
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
        let mailbox = Arc::new(Mailbox::for_test(usize::MAX));
        (Reply::new(&mailbox, Token(0), None), Sent(mailbox))
    }
}

/// Whether an answer takes no more memory than its request did. So is the answer to a push, which
/// shows the payload: it must not be refused, since the job is stored.
fn covers(share: &Share, size: usize) -> bool {
    size <= share.bytes() + SMALL_ANSWER_SIZE
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
            Answer::Response(response, _) => Some(response),
            Answer::Lost | Answer::Refused => None,
        })
    }
}

/// The answers that wait for the thread that owns their connections.
pub(super) struct Mailbox {
    contents: Mutex<Contents>,
    /// Whether the owner sleeps, or is about to, and has not been woken yet.
    is_asleep: AtomicBool,
    waker: Waker,
    /// The memory of all large answers, those that the owner has taken included.
    answers: Arc<Memory>,
}

struct Contents {
    letters: Vec<Letter>,
    /// Whether the owner has ended: letters are then thrown away.
    is_closed: bool,
}

impl Mailbox {
    pub(super) fn new(answers: Arc<Memory>) -> io::Result<Mailbox> {
        Ok(Mailbox {
            contents: Mutex::new(Contents { letters: Vec::new(), is_closed: false }),
            is_asleep: AtomicBool::new(false),
            waker: Waker::new()?,
            answers,
        })
    }

    #[cfg(test)]
    fn for_test(limit_bytes: usize) -> Mailbox {
        Mailbox::new(Arc::new(Memory::new(limit_bytes))).unwrap()
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

        let mailbox = Arc::new(Mailbox::for_test(usize::MAX));
        drop(Reply::new(&mailbox, Token(7), None));
        let mut letters = Vec::new();
        mailbox.take(&mut letters);
        assert!(matches!(letters[..], [Letter { token: Token(7), answer: Answer::Lost }]));
    }

    #[test]
    fn large_answers_share_a_bound() {
        const LARGE: usize = SMALL_ANSWER_SIZE + 1;
        let mailbox = Arc::new(Mailbox::for_test(LARGE));
        let reply = |share| Reply::new(&mailbox, Token(1), share);
        let send = |reply: Reply, size| {
            reply.send(Response::from_data(vec![b'x'; size]));
            let mut letters = Vec::new();
            mailbox.take(&mut letters);
            let Letter { answer, .. } = letters.pop().unwrap();
            let (response, share) = answer.into_parts(false);
            (response.status_code().0, share)
        };
        let mut admitted = reply(None);
        assert!(admitted.admit());
        let (first, second) = (send(reply(None), LARGE), send(reply(None), LARGE));
        assert_eq!((first.0, second.0), (200, 200), "the second exceeds the bound");
        assert!(!reply(None).admit());
        assert_eq!(send(reply(None), LARGE).0, 503);
        assert_eq!(send(reply(None), SMALL_ANSWER_SIZE).0, 200, "a small one never is too much");
        assert_eq!(send(admitted, LARGE).0, 200);

        let requests = Arc::new(Memory::new(10 * LARGE));
        let body = |bytes| Some(Share::forced(&requests, bytes));
        let (status, share) = send(reply(body(3 * LARGE)), 2 * LARGE);
        assert_eq!((status, share.map(|share| share.bytes())), (200, Some(2 * LARGE)));
        assert_eq!(send(reply(body(1)), 2 * LARGE).0, 503, "more than its body");
        drop((first, second));
        assert_eq!(send(reply(None), LARGE).0, 200, "there is room again");
    }

    #[test]
    fn the_owner_does_not_sleep_over_a_letter_and_is_woken_by_one() {
        let mailbox = Arc::new(Mailbox::for_test(usize::MAX));
        assert!(mailbox.may_sleep());
        drop(Reply::new(&mailbox, Token(1), None));
        assert!(!mailbox.is_asleep.load(Ordering::SeqCst), "the owner has been woken");
        assert!(!mailbox.may_sleep());
        mailbox.close();
        drop(Reply::new(&mailbox, Token(2), None));
        assert!(mailbox.may_sleep(), "nobody reads a closed mailbox");
    }
}
