//! Inputs that nobody would think of: known ones, changed at random again and again. For tests of
//! whatever reads bytes from outside.
//!
//! What differs in what comes of it is kept and changed further. `SEED` repeats a run,
//! `FUZZ_SECONDS` makes it longer than the moment that it takes in `make test`.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime};

/// How long a target is tried where nothing is said.
const MOMENT: Duration = Duration::from_millis(700);
/// No input grows beyond this.
const MAX_BYTES: usize = 8192;
/// What readers of bytes stumble over.
const BYTES: &[u8] = b"\0\t\n\r \"%&'()+,-./0:;<=?@[\\]{}\x7f\x80\xbf\xc0\xed\xf5\xff";

/// Numbers that look random (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// A number below `count`, which is not 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % count as u64).unwrap_or(0)
    }
}

/// Gives `check` each of `corpus` and what becomes of them. It panics where something is wrong,
/// and answers a word for what has come of the input.
pub(crate) fn run(corpus: &[&[u8]], check: impl Fn(&[u8], &mut Random) -> String) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let given = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = given("SEED").unwrap_or(u64::try_from(now).unwrap());
    let span = given("FUZZ_SECONDS").map_or(MOMENT, Duration::from_secs);
    let mut random = Random(seed);
    let mut pool: Vec<Vec<u8>> = corpus.iter().map(|input| input.to_vec()).collect();
    let mut seen = HashSet::new();
    let mut count = 0;
    let end = Instant::now() + span;
    while count < pool.len() || Instant::now() < end {
        let input = match pool.get(count) {
            Some(input) if count < corpus.len() => input.clone(),
            _ => changed(&pool, &mut random),
        };
        count += 1;
        let came = catch_unwind(AssertUnwindSafe(|| check(&input, &mut random)));
        match came {
            Ok(word) if seen.insert(word.clone()) => pool.push(input),
            Ok(_) => {}
            Err(panic) => {
                println!("SEED={seed}, input {count}: {:?}", String::from_utf8_lossy(&input));
                println!("as bytes: {input:?}");
                resume_unwind(panic);
            }
        }
    }
    println!("SEED={seed}: {count} inputs, {} ends", seen.len());
}

/// One of the inputs there are, with some changes.
fn changed(pool: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = pool[random.below(pool.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(40) + 1);
        match random.below(7) {
            0 => drop(input.drain(at..end)),
            1 => {
                let again = input[at..end].to_vec();
                let times = 1 + random.below(8);
                input.splice(at..at, again.repeat(times));
            }
            2 => input.insert(at, BYTES[random.below(BYTES.len())]),
            3 if at < input.len() => input[at] = BYTES[random.below(BYTES.len())],
            4 if at < input.len() => input[at] ^= 1 << random.below(8),
            5 => {
                let other = &pool[random.below(pool.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let other = &pool[random.below(pool.len())];
                let from = random.below(other.len() + 1);
                let to = from + random.below((other.len() - from).min(40) + 1);
                input.splice(at..at, other[from..to].to_vec());
            }
        }
        input.truncate(MAX_BYTES);
    }
    input
}
