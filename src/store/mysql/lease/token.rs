//! Tokens: what marks the rows that a lease has grabbed.

use std::io;

use crate::store::Token;

/// How many bits count the leases of a process; the 39 above them are the process's own.
const LEASE_BITS: u32 = 24;
const PROCESS_BITS: u32 = 63 - LEASE_BITS;

/// Gives each lease of this process a token of its own.
pub(super) struct TokenSource {
    /// Not 0, so that no token is.
    process: u64,
    leases: u64,
}

impl TokenSource {
    /// A source with a mark drawn from the operating system's randomness. Two processes draw the
    /// same once in 2^39; even then only jobs that both know at that moment could be mixed up.
    pub(super) fn new() -> io::Result<TokenSource> {
        let drawn = getrandom::u64().map_err(io::Error::other)?;
        Ok(TokenSource::marked(drawn))
    }

    fn marked(drawn: u64) -> TokenSource {
        TokenSource { process: (drawn >> (64 - PROCESS_BITS)).max(1), leases: 0 }
    }

    /// The token of a lease that begins.
    pub(super) fn draw(&mut self) -> Token {
        self.leases = (self.leases + 1) % (1 << LEASE_BITS);
        Token(self.process << LEASE_BITS | self.leases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ() {
        let (mut here, mut there) = (TokenSource::new().unwrap(), TokenSource::new().unwrap());
        let (first, second, foreign) = (here.draw(), here.draw(), there.draw());
        assert_ne!(first, second);
        assert_ne!(first, foreign);
    }

    #[test]
    fn no_token_is_zero_or_longer_than_63_bits() {
        for drawn in [0, 1, u64::MAX] {
            let mut source = TokenSource::marked(drawn);
            source.leases = (1 << LEASE_BITS) - 1;
            for token in [source.draw(), source.draw()] {
                assert!(token.0 > 0 && token.0 < 1 << 63, "{token:?}");
            }
        }
    }
}
