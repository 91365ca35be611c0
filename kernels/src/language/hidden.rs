//! The hidden vectors of a text and of the paragraph at hand: rows of the input matrix, summed, then averaged.
//!
//! Rows are gathered and added a thousand at a time, to both sums at once. A text's sum is not made of its
//! paragraphs' sums: over a megabyte of text, float32 sums in another order than the reference's move a score
//! by up to 2e-4; in the same order they stay within 1e-7.

use super::matrix::{LANES, Matrix};

const ROWS: usize = 1024; // rows gathered before they are added

struct Sum {
    count: u64,
    values: Vec<f32>,
}

impl Sum {
    fn restart(&mut self) {
        self.values.fill(0.0);
        self.count = 0;
    }

    fn average(&mut self) -> &[f32] {
        let scale = (1.0 / self.count as f64) as f32;
        self.values.iter_mut().for_each(|value| *value *= scale);
        &self.values
    }
}

pub struct Hidden<'a> {
    input: &'a Matrix,
    rows: [u32; ROWS],
    waiting: usize,
    text: Sum,
    part: Option<Sum>,
}

impl<'a> Hidden<'a> {
    /// With `parts`, paragraphs are summed as well.
    pub fn new(input: &'a Matrix, dim: usize, parts: bool) -> Self {
        let sum = || Sum {
            count: 0,
            values: vec![0.0; dim.next_multiple_of(LANES)],
        };
        Self {
            input,
            rows: [0; ROWS],
            waiting: 0,
            text: sum(),
            part: parts.then(sum),
        }
    }

    pub fn restart(&mut self) {
        self.waiting = 0;
        self.text.restart();
        self.restart_part();
    }

    pub fn restart_part(&mut self) {
        if let Some(part) = &mut self.part {
            part.restart();
        }
    }

    pub fn push(&mut self, row: u32) {
        if self.waiting == ROWS {
            self.flush();
        }
        self.rows[self.waiting] = row;
        self.waiting += 1;
    }

    /// A row of the text that is not one of the paragraph.
    pub fn push_text(&mut self, row: u32) {
        self.flush();
        self.input.add_row(row as usize, &mut self.text.values);
        self.text.count += 1;
    }

    /// A row of the paragraph that is not one of the text.
    pub fn push_part(&mut self, row: u32) {
        self.flush();
        if let Some(part) = &mut self.part {
            self.input.add_row(row as usize, &mut part.values);
            part.count += 1;
        }
    }

    fn flush(&mut self) {
        let rows = &self.rows[..self.waiting];
        self.text.count += rows.len() as u64;
        match &mut self.part {
            None => self.input.add_rows(rows, &mut self.text.values),
            Some(part) => {
                let (text, values) = (&mut self.text.values, &mut part.values);
                self.input.add_rows_twice(rows, text, values);
                part.count += rows.len() as u64;
            }
        }
        self.waiting = 0;
    }

    pub fn text_is_empty(&self) -> bool {
        self.waiting == 0 && self.text.count == 0
    }

    pub fn part_is_empty(&self) -> bool {
        self.waiting == 0 && self.part.as_ref().is_none_or(|part| part.count == 0)
    }

    /// The average of the text's rows, in place of their sum: the vector is then used up.
    pub fn text_average(&mut self) -> &[f32] {
        self.flush();
        self.text.average()
    }

    /// The average of the paragraph's rows, likewise.
    pub fn part_average(&mut self) -> &[f32] {
        self.flush();
        self.part.as_mut().map_or(&[], Sum::average)
    }
}
