//! The score of chosen labels, for classifiers whose answer is a number and not a label.
//!
//! Scores are those of the reference, exp(ln(p + 1e-5)), so that they agree with what a published threshold was
//! measured on. Under hierarchical softmax a label costs one product per inner node above it; under softmax
//! all labels are needed for the total, under independent sigmoids only those that are asked for.

use arrow_array::{Array, LargeStringArray};

use super::LanguageModel;
use super::clean::separates;
use super::features::Words;
use super::hidden::Hidden;
use super::loss::{Loss, log, sigmoid};
use super::matrix::Matrix;

/// How to get from the hidden vector to the scores of the labels asked for.
enum Plan {
    Softmax,
    Sigmoids,
    /// For each label asked for: inner nodes from the root down, and whether the path turns right.
    Paths(Vec<Vec<(u32, bool)>>),
}

fn paths(labels: usize, children: &[(u32, u32)], wanted: &[usize]) -> Vec<Vec<(u32, bool)>> {
    let mut parents = vec![None; labels + children.len()];
    for (inner, &(left, right)) in children.iter().enumerate() {
        parents[left as usize] = Some((inner, false));
        parents[right as usize] = Some((inner, true));
    }
    let path = |&label: &usize| {
        let mut path = Vec::new();
        let mut node = label;
        while let Some((inner, right)) = parents[node] {
            path.push((inner as u32, right));
            node = labels + inner;
        }
        path.reverse();
        path
    };
    wanted.iter().map(path).collect()
}

impl Plan {
    fn new(loss: &Loss, wanted: &[usize]) -> Self {
        match loss {
            Loss::Softmax => Self::Softmax,
            Loss::Sigmoids => Self::Sigmoids,
            Loss::Hierarchical { labels, children } => {
                Self::Paths(paths(*labels, children, wanted))
            }
        }
    }

    fn scores(&self, output: &Matrix, hidden: &[f32], wanted: &[usize], into: &mut [Option<f32>]) {
        match self {
            Self::Softmax => {
                let all: Vec<f32> = (0..output.rows())
                    .map(|row| output.dot_row(row, hidden))
                    .collect();
                let highest = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = all.iter().map(|score| (score - highest).exp()).sum();
                for (into, &label) in into.iter_mut().zip(wanted) {
                    *into = finite(log((all[label] - highest).exp() / total).exp());
                }
            }
            Self::Sigmoids => {
                for (into, &label) in into.iter_mut().zip(wanted) {
                    *into = finite(log(sigmoid(output.dot_row(label, hidden))).exp());
                }
            }
            Self::Paths(paths) => {
                for (into, path) in into.iter_mut().zip(paths) {
                    let mut score = 0f32;
                    for &(inner, goes_right) in path {
                        let x = output.dot_row(inner as usize, hidden);
                        let right = (1.0 / (1.0 + f64::from((-x).exp()))) as f32;
                        score += log(if goes_right {
                            right
                        } else {
                            (1.0 - f64::from(right)) as f32
                        });
                    }
                    *into = finite(score.exp());
                }
            }
        }
    }
}

fn finite(score: f32) -> Option<f32> {
    score.is_finite().then_some(score)
}

impl LanguageModel {
    /// Index of each name among the labels, with or without its prefix; the first that is not there as `Err`.
    pub(super) fn label_indices(&self, names: &[String]) -> Result<Vec<usize>, String> {
        let find = |name: &String| {
            let bare = name.strip_prefix("__label__").unwrap_or(name);
            let found = self.labels.iter().position(|label| label == Some(bare));
            found.ok_or_else(|| name.clone())
        };
        names.iter().map(find).collect()
    }

    /// A column of scores per label asked for; null for a null text and for one without any known feature.
    pub(super) fn scores(
        &self,
        texts: &LargeStringArray,
        wanted: &[usize],
    ) -> Vec<Vec<Option<f32>>> {
        let plan = Plan::new(&self.loss, wanted);
        let mut words = Words::new(&self.features);
        let mut hidden = Hidden::new(&self.input, self.dim, false);
        let mut columns = vec![vec![None; texts.len()]; wanted.len()];
        let mut one = vec![None; wanted.len()];
        for row in (0..texts.len()).filter(|&row| texts.is_valid(row)) {
            hidden.restart();
            words.restart();
            let bytes = texts.value(row).as_bytes();
            for word in bytes.split(|&byte| separates(byte)) {
                if !word.is_empty() {
                    words.push(word, &mut |row, _| hidden.push(row));
                }
            }
            if hidden.text_is_empty() {
                continue;
            }
            words.push_end(false, &mut |row| hidden.push_text(row));
            plan.scores(&self.output, hidden.text_average(), wanted, &mut one);
            for (column, score) in columns.iter_mut().zip(&one) {
                column[row] = *score;
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_the_root_to_its_leaf() {
        // Counts 5, 2, 1 (as in loss.rs): inner node 0 joins leaves 2 and 1, the root (1) joins it and leaf 0.
        let found = paths(3, &[(2, 1), (3, 0)], &[0, 1, 2]);
        assert_eq!(found[0], [(1, true)]);
        assert_eq!(found[1], [(1, false), (0, true)]);
        assert_eq!(found[2], [(1, false), (0, false)]);
    }

    #[test]
    fn a_single_label_has_no_path() {
        assert_eq!(paths(1, &[], &[0]), [vec![]]);
    }
}
