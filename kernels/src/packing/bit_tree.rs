//! A set of integers below a bound: successor and maximum in one word per 64-way level (five at most).

pub struct BitTree {
    levels: Vec<Vec<u64>>,
}

impl BitTree {
    pub fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(64).max(1);
        loop {
            levels.push(vec![0u64; words]);
            if words == 1 {
                return Self { levels };
            }
            words = words.div_ceil(64);
        }
    }

    #[inline]
    pub fn insert(&mut self, mut at: usize) {
        for level in &mut self.levels {
            let word = &mut level[at >> 6];
            let before = *word;
            *word |= 1 << (at & 63);
            if before != 0 {
                return;
            }
            at >>= 6;
        }
    }

    #[inline]
    pub fn remove(&mut self, mut at: usize) {
        for level in &mut self.levels {
            let word = &mut level[at >> 6];
            *word &= !(1 << (at & 63));
            if *word != 0 {
                return;
            }
            at >>= 6;
        }
    }

    /// The smallest member that is not below `at`.
    #[inline]
    pub fn successor(&self, mut at: usize) -> Option<usize> {
        for (height, level) in self.levels.iter().enumerate() {
            let bits = level.get(at >> 6)? & (u64::MAX << (at & 63));
            if bits != 0 {
                let mut found = (at & !63) | bits.trailing_zeros() as usize;
                for below in self.levels[..height].iter().rev() {
                    found = (found << 6) | below[found].trailing_zeros() as usize;
                }
                return Some(found);
            }
            at = (at >> 6) + 1;
        }
        None
    }

    #[inline]
    pub fn maximum(&self) -> Option<usize> {
        let mut found = 0;
        for level in self.levels.iter().rev() {
            let word = level[found];
            if word == 0 {
                return None;
            }
            found = (found << 6) | (63 - word.leading_zeros() as usize);
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::BitTree;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn bit_tree_is_an_ordered_set(
            steps in prop::collection::vec((any::<bool>(), 0usize..9000), 1..200),
            bound in 9000usize..300_000,
        ) {
            let (mut tree, mut set) = (BitTree::new(bound), BTreeSet::new());
            for (insert, value) in steps {
                let value = value * bound / 9000;
                if insert {
                    tree.insert(value);
                    set.insert(value);
                } else if set.remove(&value) {
                    tree.remove(value);
                }
                for probe in [0, value, value + 1, bound - 1, bound] {
                    prop_assert_eq!(tree.successor(probe), set.range(probe..).next().copied());
                }
                prop_assert_eq!(tree.maximum(), set.last().copied());
            }
        }
    }
}
