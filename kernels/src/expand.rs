//! What a trainer wants beside the tokens, from the lengths of a sequence's documents: positions, labels,
//! loss masks, segment ids.
//!
//! A *segment* is a document's slot (its length rounded up to the padding multiple); the last one reaches to
//! the end of the sequence. Pads go on counting the positions of their document, carry no loss and no label
//! and belong to segment 0. A label is the next token of the same document; its last token has none. One
//! pass, no branch per token; the writes are all that it costs.

use std::ops::Range;

use crate::digest::{Store, copied_xxh3_64, xxh3_64};

/// A token, position or label as the trainer's integer type.
pub trait Index: Copy + Send {
    /// Whether `copy_digest` is one pass.
    const FUSED: bool = false;

    fn of(value: i32) -> Self;

    /// `out` becomes `tokens`.
    fn copy(tokens: &[i32], out: &mut [Self]) {
        for (out, &token) in out.iter_mut().zip(tokens) {
            *out = Self::of(token);
        }
    }

    /// The same, and the XXH3-64 of the tokens. `next` is what will be read after them.
    fn copy_digest(tokens: &[i32], out: &mut [Self], _store: Store, _next: *const u8) -> u64 {
        let digest = xxh3_64(bytes_of(tokens));
        Self::copy(tokens, out);
        digest
    }
}

impl Index for i32 {
    const FUSED: bool = true;

    fn of(value: i32) -> Self {
        value
    }

    fn copy(tokens: &[i32], out: &mut [Self]) {
        out.copy_from_slice(tokens);
    }

    fn copy_digest(tokens: &[i32], out: &mut [Self], store: Store, next: *const u8) -> u64 {
        copied_xxh3_64(bytes_of(tokens), bytes_of_mut(out), store, next)
    }
}

impl Index for i64 {
    fn of(value: i32) -> Self {
        Self::from(value)
    }
}

/// Integers as bytes.
pub fn bytes_of<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: called for i32 and u64, whose bytes are all initialised; borrowed as long as the values.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn bytes_of_mut(values: &mut [i32]) -> &mut [u8] {
    // SAFETY: any bytes are an i32 and the reverse; borrowed exclusively, as long as the values.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// The documents of one sequence.
#[derive(Default)]
pub struct Documents {
    /// Where each slot begins; ascending, the first 0.
    pub starts: Vec<i32>,
    /// Where the real tokens of each end.
    pub ends: Vec<i32>,
    width: i32,
}

impl Documents {
    /// Take over the documents of another sequence. An error, for a list that makes no sense, says why.
    pub fn set(&mut self, lengths: &[i32], multiple: i32, width: i32) -> Result<(), String> {
        self.starts.clear();
        self.ends.clear();
        self.width = width;
        let mut at = 0;
        for (number, &length) in lengths.iter().enumerate() {
            let left = width - at;
            let slot = (1..=left)
                .contains(&length)
                .then(|| (i64::from(length) + i64::from(multiple) - 1) / i64::from(multiple) * i64::from(multiple))
                .filter(|&slot| slot <= i64::from(left))
                .ok_or_else(|| {
                    format!("document {number} of {length} tokens in the {left} that are left of {width}")
                })?;
            self.starts.push(at);
            self.ends.push(at + length);
            at += slot as i32;
        }
        if lengths.is_empty() {
            return Err("it has no documents".to_owned());
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Where segment `number` ends: where the next one begins, or with the sequence.
    pub fn segment_end(&self, number: usize) -> i32 {
        self.starts.get(number + 1).copied().unwrap_or(self.width)
    }

    pub fn segment(&self, number: usize) -> Range<usize> {
        self.starts[number] as usize..self.segment_end(number) as usize
    }

    /// The document whose segment holds position `at`.
    fn at(&self, at: i32) -> usize {
        self.starts
            .partition_point(|&start| start <= at)
            .saturating_sub(1)
    }
}

/// The arrays to fill, each as long as a rank's part of the sequences, or absent.
pub struct Outputs<'a, T> {
    pub tokens: Option<&'a mut [T]>,
    pub positions: Option<&'a mut [T]>,
    pub labels: Option<&'a mut [T]>,
    pub segment_ids: Option<&'a mut [T]>,
    pub loss_mask: Option<&'a mut [f32]>,
    pub ignore: i32,
}

fn split<'a, V>(from: &mut Option<&'a mut [V]>, size: usize) -> Option<&'a mut [V]> {
    let (head, tail) = from.take()?.split_at_mut_checked(size)?;
    *from = Some(tail);
    Some(head)
}

impl<'a, T: Index> Outputs<'a, T> {
    /// The next `size` values of each array, taken off its front.
    pub fn take(&mut self, size: usize) -> Self {
        Self {
            tokens: split(&mut self.tokens, size),
            positions: split(&mut self.positions, size),
            labels: split(&mut self.labels, size),
            segment_ids: split(&mut self.segment_ids, size),
            loss_mask: split(&mut self.loss_mask, size),
            ignore: self.ignore,
        }
    }

    /// Whether more than the tokens is wanted, which takes the documents.
    pub fn beyond_tokens(&self) -> bool {
        self.positions.is_some()
            || self.labels.is_some()
            || self.segment_ids.is_some()
            || self.loss_mask.is_some()
    }

    /// Fill what goes with `[at, at + tokens.len())`: tokens of the sequence from `start` on, in reading
    /// order.
    ///
    /// `next` follows the last of them, where the caller knows it.
    pub fn fill(
        &mut self,
        at: usize,
        tokens: &[i32],
        start: i32,
        next: Option<i32>,
        documents: &Documents,
    ) {
        let end = start + tokens.len() as i32;
        let mut number = documents.at(start);
        let mut from = start;
        while from < end && number < documents.len() {
            let to = documents.segment_end(number).min(end);
            let here = at + (from - start) as usize..at + (to - start) as usize;
            let real = documents.ends[number];
            let inside = |limit: i32| (limit.clamp(from, to) - from) as usize;
            if let Some(out) = &mut self.positions {
                let first = from - documents.starts[number];
                for (out, value) in out[here.clone()].iter_mut().zip(first..) {
                    *out = T::of(value);
                }
            }
            if let Some(out) = &mut self.segment_ids {
                let (tokens, pads) = out[here.clone()].split_at_mut(inside(real));
                tokens.fill(T::of(number as i32 + 1));
                pads.fill(T::of(0));
            }
            let labelled = inside(real - 1);
            if let Some(out) = &mut self.loss_mask {
                let (tokens, rest) = out[here.clone()].split_at_mut(labelled);
                tokens.fill(1.0);
                rest.fill(0.0);
            }
            if let Some(out) = &mut self.labels {
                let (labels, rest) = out[here].split_at_mut(labelled);
                let following = &tokens[((from - start) as usize + 1).min(tokens.len())..];
                let known = labelled.min(following.len());
                T::copy(&following[..known], &mut labels[..known]);
                for label in &mut labels[known..] {
                    *label = T::of(next.unwrap_or(self.ignore));
                }
                rest.fill(T::of(self.ignore));
            }
            from = to;
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Documents, Outputs};
    use proptest::prelude::*;

    proptest! {
        /// Filling in any pieces gives what filling at once gives, and that is what the definition says.
        #[test]
        fn fields_are_a_function_of_the_place(
            lengths in prop::collection::vec(1i32..20, 1..8),
            multiple in 1i32..6,
            tail in 0i32..9,
            piece in 1usize..30,
        ) {
            let width = lengths.iter().map(|length| (length + multiple - 1) / multiple * multiple).sum::<i32>() + tail;
            let size = width as usize;
            let tokens: Vec<i32> = (100..100 + width).collect();
            let mut documents = Documents::default();
            prop_assert_eq!(documents.set(&lengths, multiple, width), Ok(()));
            let (mut positions, mut labels, mut ids) =
                (vec![-1i64; size], vec![-1i64; size], vec![-1i64; size]);
            let mut mask = vec![-1f32; size];
            let mut outputs = Outputs {
                tokens: None,
                positions: Some(&mut positions[..]),
                labels: Some(&mut labels[..]),
                segment_ids: Some(&mut ids[..]),
                loss_mask: Some(&mut mask[..]),
                ignore: -100,
            };
            for at in (0..size).step_by(piece) {
                let end = (at + piece).min(size);
                outputs.fill(at, &tokens[at..end], at as i32, tokens.get(end).copied(), &documents);
            }
            for at in 0..size {
                let number = documents.at(at as i32);
                let (start, end) = (documents.starts[number] as usize, documents.ends[number] as usize);
                prop_assert!(documents.segment(number).contains(&at));
                prop_assert_eq!(positions[at], (at - start) as i64);
                prop_assert_eq!(ids[at], if at < end { number as i64 + 1 } else { 0 });
                prop_assert_eq!(labels[at], if at + 1 < end { 101 + at as i64 } else { -100 });
                prop_assert_eq!(mask[at] == 1.0, at + 1 < end);
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let mut documents = Documents::default();
        for lengths in [&[3, 0][..], &[-1], &[9], &[5, 4], &[], &[i32::MAX]] {
            assert!(documents.set(lengths, 1, 8).is_err(), "{lengths:?}");
        }
        assert!(documents.set(&[5, 1], 4, 8).is_err());
        assert!(documents.set(&[1], i32::MAX, 8).is_err());
    }
}
