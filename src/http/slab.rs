//! The connections of one thread, found by a token that is never given twice, so that an event or
//! an answer for a connection that has gone does not reach the one that took its place.

use super::readiness::Token;

struct Slot<T> {
    generation: u32,
    value: Option<Box<T>>,
}

pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { slots: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> Token {
        let value = Some(Box::new(value));
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = value;
            return token(index, slot.generation);
        }
        self.slots.push(Slot { generation: 0, value });
        token((self.slots.len() - 1) as u32, 0)
    }

    pub(super) fn get(&self, token: Token) -> Option<&T> {
        let slot = self.slots.get(index(token))?;
        if slot.generation == generation(token) { slot.value.as_deref() } else { None }
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let slot = self.slots.get_mut(index(token))?;
        if slot.generation == generation(token) { slot.value.as_deref_mut() } else { None }
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Box<T>> {
        let slot = self.slots.get_mut(index(token))?;
        if slot.generation != generation(token) {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index(token) as u32);
        Some(value)
    }

    /// The tokens of all, as they are now.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let occupied = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        occupied.map(|(index, slot)| token(index as u32, slot.generation)).collect()
    }
}

fn token(index: u32, generation: u32) -> Token {
    Token(u64::from(generation) << 32 | u64::from(index))
}

fn index(token: Token) -> usize {
    (token.0 & u64::from(u32::MAX)) as usize
}

fn generation(token: Token) -> u32 {
    (token.0 >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_one_that_has_gone_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first).as_deref(), Some(&"first"));
        let second = slab.insert("second");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!((slab.len(), slab.tokens()), (1, vec![second]));
        assert_eq!(slab.slots.len(), 1, "the place is used again");
    }
}
