//! Numbers that look random, and come again with the same seed.

use std::ops::RangeInclusive;

/// A sequence of them (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// With the seed in the variable `SEED`, else one of the time; prints it.
    pub fn seeded() -> Random {
        Random::of(seed(), 0)
    }

    /// One of the sequences of a seed.
    pub fn of(seed: u64, sequence: u64) -> Random {
        let mut random = Random(seed ^ sequence.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        // Seeds that differ in a bit or two begin far apart.
        random.next();
        random
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number of a range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    /// An index below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap()
    }

    /// Whether something happens whose chance is `percent`.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The seed in the variable `SEED`, else one of the time; prints it.
pub fn seed() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    let seed = number("SEED").unwrap_or(now);
    println!("SEED={seed}");
    seed
}

/// The number in a variable of the environment.
///
/// # Panics
/// It is there and no number.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}
