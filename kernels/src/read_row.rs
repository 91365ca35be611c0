//! One sequence: a rank's part of it, verified, with what goes with the tokens.
//!
//! Runs of 4,096 tokens are hashed and then copied and expanded while they are in cache. A part that does not
//! begin or end with such a run reads the whole of it to verify it (at most 16 KiB on either side).

use std::ops::Range;

use crate::digest::{Store, xxh3_64};
use crate::expand::{Documents, Index, Outputs, bytes_of};
use crate::shard_file::{CHECKSUM_TOKENS, Row, Shard};
use crate::shard_source::Scratch;
use crate::stored_order::StoredOrder;

/// Which part of every sequence is wanted, and how it is stored.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub order: StoredOrder,
    pub width: usize,
    pub rank: usize,
    pub degree: usize,
    pub multiple: i32,
    pub verify: bool,
    /// Whether the lengths of documents are wanted, beside what the outputs need.
    pub documents: bool,
    pub store: Store,
}

/// Tokens that are neighbours in storage and in reading order.
struct Run {
    stored: Range<usize>,
    start: usize,
    next: Option<i32>,
}

/// The buffers that one thread uses for one sequence after another.
#[derive(Default)]
pub struct Worker {
    row: Row,
    documents: Documents,
    runs: Vec<Run>,
    tokens: Scratch,
    following: Scratch,
    plane: Vec<i32>,
    pub lengths: Vec<i32>,
    pub counts: Vec<i32>,
    pub token_bytes: u64,
    pub other_bytes: u64,
    /// Where the next sequence begins, to ask for it early.
    pub next: Ahead,
}

/// An address that is only ever prefetched.
pub struct Ahead(pub *const u8);

impl Default for Ahead {
    fn default() -> Self {
        Self(std::ptr::null())
    }
}

// SAFETY: nothing reads through the pointer.
unsafe impl Send for Ahead {}

impl Wanted {
    pub fn part(&self) -> Range<usize> {
        let share = self.width / self.degree;
        self.rank * share..(self.rank + 1) * share
    }

    /// The chunks of one rank of a zig-zag order, as they are stored.
    fn chunks(
        &self,
        degree: usize,
        rank: usize,
        documents: &Documents,
        each: &mut dyn FnMut(Range<usize>),
    ) {
        let whole = 0..self.width;
        match self.order {
            StoredOrder::ZigzagDocuments(_) => {
                let segments = (0..documents.len()).map(|number| documents.segment(number));
                StoredOrder::chunks(degree, rank, segments).for_each(|(chunk, _)| each(chunk));
            }
            _ => StoredOrder::chunks(degree, rank, std::iter::once(whole))
                .for_each(|(chunk, _)| each(chunk)),
        }
    }

    /// Zig-zag as it is stored: the degree, where the part has to be permuted or is the part of a rank of it.
    pub fn zigzag(&self) -> Option<usize> {
        match self.order {
            StoredOrder::Contiguous => None,
            StoredOrder::Zigzag(degree) | StoredOrder::ZigzagDocuments(degree) => Some(degree),
        }
    }
}

impl Worker {
    /// Read one sequence into the front of `out`.
    pub fn read<T: Index>(
        &mut self,
        shard: &Shard,
        row: u64,
        wanted: &Wanted,
        out: &mut Outputs<'_, T>,
    ) -> Result<(), String> {
        let shape = shard.shape()?;
        if shape.width != wanted.width as u64 {
            return Err(format!(
                "{}: sequences of {} tokens, not {}",
                shard.name, shape.width, wanted.width
            ));
        }
        let fail = |error: String| format!("{}: sequence {row}: {error}", shard.name);
        let permuted = wanted.zigzag().filter(|&degree| degree != wanted.degree);
        let needs_documents = wanted.documents
            || out.beyond_tokens()
            || matches!(wanted.order, StoredOrder::ZigzagDocuments(_));
        self.other_bytes += shard.row(row, needs_documents, wanted.verify, &mut self.row)?;
        if needs_documents {
            self.documents
                .set(&self.row.lengths, wanted.multiple, wanted.width as i32)
                .map_err(fail)?;
            self.lengths.extend_from_slice(&self.row.lengths);
            self.counts.push(self.row.lengths.len() as i32);
        }
        let part = if permuted.is_some() {
            0..wanted.width
        } else {
            wanted.part()
        };
        self.runs_of(shard, row, wanted, &part, permuted, out.labels.is_some())
            .map_err(fail)?;

        let whole = if wanted.verify {
            part.start / CHECKSUM_TOKENS * CHECKSUM_TOKENS
                ..part.end.next_multiple_of(CHECKSUM_TOKENS).min(wanted.width)
        } else {
            part.clone()
        };
        let (tokens, read) = shard.tokens(row, whole.clone(), &mut self.tokens)?;
        self.token_bytes += read;
        let digests = &self.row.token_checksums;
        let check = |number: usize, size: usize, found: u64| -> Result<(), String> {
            let expected = digests.get(number).copied();
            if expected == Some(found) {
                return Ok(());
            }
            Err(fail(format!(
                "block {number} (tokens {} to {}, as stored) is damaged: xxh3_64 {found:016x}, the shard says \
                 {:016x}: fetch the shard again or rerun the write phase",
                number * CHECKSUM_TOKENS,
                number * CHECKSUM_TOKENS + size,
                expected.unwrap_or(0)
            )))
        };
        if let Some(degree) = permuted {
            if wanted.verify {
                for (number, block) in tokens.chunks(CHECKSUM_TOKENS).enumerate() {
                    check(number, block.len(), xxh3_64(bytes_of(block)))?;
                }
            }
            self.plane.resize(wanted.width, 0);
            let (plane, mut at) = (&mut self.plane, 0);
            for rank in 0..degree {
                wanted.chunks(degree, rank, &self.documents, &mut |chunk| {
                    let size = chunk.len();
                    if let (Some(to), Some(from)) =
                        (plane.get_mut(chunk), tokens.get(at..at + size))
                    {
                        to.copy_from_slice(from);
                    }
                    at += size;
                });
            }
            if let Some(out) = &mut out.tokens {
                T::copy(plane, out);
            }
            if out.beyond_tokens() {
                out.fill(0, plane, 0, None, &self.documents);
            }
            return Ok(());
        }
        let mut run = 0;
        let mut at = whole.start;
        while at < whole.end {
            let end = ((at / CHECKSUM_TOKENS + 1) * CHECKSUM_TOKENS).min(whole.end);
            let block = &tokens[at - whole.start..end - whole.start];
            let inside = part.start.max(at)..part.end.min(end);
            let digest = match &mut out.tokens {
                // All of the block is wanted: hash and copy it in one pass. The hash is free where nobody asks
                // for it: that loop is the fastest copy.
                Some(out) if inside.len() == block.len() && (wanted.verify || T::FUSED) => {
                    let out = &mut out[inside.start - part.start..inside.end - part.start];
                    let next = if end < whole.end {
                        tokens[end - whole.start..].as_ptr().cast()
                    } else {
                        self.next.0
                    };
                    let digest = T::copy_digest(block, out, wanted.store, next);
                    wanted.verify.then_some(digest)
                }
                copied => {
                    let digest = wanted.verify.then(|| xxh3_64(bytes_of(block)));
                    if let Some(out) = copied {
                        let out = &mut out[inside.start - part.start..inside.end - part.start];
                        T::copy(&block[inside.start - at..inside.end - at], out);
                    }
                    digest
                }
            };
            if let Some(found) = digest {
                check(at / CHECKSUM_TOKENS, block.len(), found)?;
            }
            while out.beyond_tokens()
                && let Some(now) = self.runs.get(run)
            {
                let (from, to) = (now.stored.start.max(at), now.stored.end.min(end));
                if from < to {
                    let here = &tokens[from - whole.start..to - whole.start];
                    let next = if to < now.stored.end {
                        tokens.get(to - whole.start).copied()
                    } else {
                        now.next
                    };
                    let start = (now.start + from - now.stored.start) as i32;
                    out.fill(from - part.start, here, start, next, &self.documents);
                }
                if now.stored.end > end {
                    break;
                }
                run += 1;
            }
            at = end;
        }
        Ok(())
    }

    fn runs_of(
        &mut self,
        shard: &Shard,
        row: u64,
        wanted: &Wanted,
        part: &Range<usize>,
        permuted: Option<usize>,
        labels: bool,
    ) -> Result<(), String> {
        self.runs.clear();
        let Some(degree) = wanted.zigzag().filter(|_| permuted.is_none()) else {
            let mut next = None;
            // The label of the part's last token lies in the next rank's part, which verifies it.
            if labels && part.end < wanted.width && permuted.is_none() && self.goes_on(part.end) {
                let (tokens, read) =
                    shard.tokens(row, part.end..part.end + 1, &mut self.following)?;
                self.token_bytes += read;
                next = tokens.first().copied();
            }
            self.runs.push(Run {
                stored: part.clone(),
                start: part.start,
                next,
            });
            return Ok(());
        };
        let (runs, mut at) = (&mut self.runs, part.start);
        wanted.chunks(degree, wanted.rank, &self.documents, &mut |chunk| {
            runs.push(Run {
                stored: at..at + chunk.len(),
                start: chunk.start,
                next: None,
            });
            at += chunk.len();
        });
        if at != part.end {
            return Err("its documents do not divide into the chunks of its layout".to_owned());
        }
        if labels {
            let count = self.runs.len();
            let next = &self.row.next_tokens;
            if next.len() != count * degree {
                return Err(format!(
                    "{} next tokens for {} chunks",
                    next.len(),
                    count * degree
                ));
            }
            for (run, &token) in self.runs.iter_mut().zip(&next[count * wanted.rank..]) {
                run.next = Some(token);
            }
        }
        Ok(())
    }

    /// Whether the token at `at` is a real token of the document that the one before it belongs to.
    fn goes_on(&self, at: usize) -> bool {
        let number = self
            .documents
            .starts
            .partition_point(|&start| (start as usize) < at);
        number > 0 && (self.documents.ends[number - 1] as usize) > at
    }
}
