//! From the hidden vector to the best label: hierarchical softmax, softmax, or independent sigmoids
//! (one against all, and negative sampling, which predicts in the same way).
//!
//! Scores follow the reference to the letter: a probability is the exponential of a sum of
//! ln(p + 1e-5), so that a certain label scores 1.00001, and branches below ln(1e-5) are not followed.

use super::matrix::Matrix;

const UNBUILT: i64 = 1_000_000_000_000_000;

pub enum Loss {
    /// Children of each inner node of the Huffman tree; nodes below `labels` are leaves.
    Hierarchical {
        labels: usize,
        children: Vec<(u32, u32)>,
    },
    Softmax,
    Sigmoids,
}

pub fn log(probability: f32) -> f32 {
    (f64::from(probability) + 1e-5).ln() as f32
}

impl Loss {
    /// `kind` as in the model file: 1 hierarchical softmax, 2 negative sampling, 3 softmax, 4 one against all.
    pub fn new(kind: i32, counts: &[i64]) -> Result<Self, String> {
        match kind {
            1 => huffman(counts),
            2 | 4 => Ok(Self::Sigmoids),
            3 => Ok(Self::Softmax),
            _ => Err(format!("loss {kind} is none of 1, 2, 3, 4")),
        }
    }

    /// The best label and its score; `None` where every score is below 1e-5 or not a number.
    pub fn best(&self, output: &Matrix, hidden: &[f32]) -> Option<(usize, f32)> {
        match self {
            Self::Hierarchical { labels, children } => best_leaf(*labels, children, output, hidden),
            Self::Softmax => {
                let scores = || (0..output.rows()).map(|row| output.dot_row(row, hidden));
                let (label, highest) = highest(scores())?;
                let total: f32 = scores().map(|score| (score - highest).exp()).sum();
                Some((label, log(1.0 / total).exp()))
            }
            Self::Sigmoids => {
                let scores = (0..output.rows()).map(|row| sigmoid(output.dot_row(row, hidden)));
                highest(scores).map(|(label, score)| (label, log(score).exp()))
            }
        }
        .filter(|(_, score)| score.is_finite())
    }
}

fn highest(scores: impl Iterator<Item = f32>) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (label, score) in scores.enumerate() {
        if best.is_none_or(|(_, highest)| score >= highest) {
            best = Some((label, score));
        }
    }
    best
}

/// The reference's sigmoid: a table of 512 steps over [-8, 8].
pub fn sigmoid(x: f32) -> f32 {
    if x < -8.0 {
        return 0.0;
    }
    if x > 8.0 {
        return 1.0;
    }
    let step = ((x + 8.0) * 512.0 / 8.0 / 2.0) as i64;
    let at = (step * 16) as f32 / 512.0 - 8.0;
    1.0 / (1.0 + (-at).exp())
}

/// The tree that training built: Huffman's, over the labels' counts in descending order.
fn huffman(counts: &[i64]) -> Result<Loss, String> {
    // A count of 1e15 or more would be taken for a node that is not built yet.
    if let Some(count) = counts.iter().find(|count| !(0..UNBUILT).contains(*count)) {
        return Err(format!("a label's count is {count}"));
    }
    let labels = counts.len();
    let mut weights = counts.to_vec();
    weights.resize(2 * labels - 1, UNBUILT);
    let mut children = Vec::with_capacity(labels - 1);
    let (mut leaves, mut inner) = (labels, labels);
    for node in labels..2 * labels - 1 {
        let mut take = || {
            if leaves > 0 && weights[leaves - 1] < weights[inner] {
                leaves -= 1;
                leaves
            } else {
                inner += 1;
                inner - 1
            }
        };
        let pair = (take(), take());
        weights[node] = weights[pair.0].saturating_add(weights[pair.1]);
        children.push((pair.0 as u32, pair.1 as u32));
    }
    Ok(Loss::Hierarchical { labels, children })
}

fn best_leaf(
    labels: usize,
    children: &[(u32, u32)],
    output: &Matrix,
    hidden: &[f32],
) -> Option<(usize, f32)> {
    let lowest = log(0.0);
    let mut best: Option<(usize, f32)> = None;
    let mut open = vec![(2 * labels - 2, 0f32)];
    while let Some((node, score)) = open.pop() {
        if score < lowest || best.is_some_and(|(_, highest)| score < highest) {
            continue;
        }
        if node < labels {
            best = Some((node, score));
            continue;
        }
        let x = output.dot_row(node - labels, hidden);
        let right = (1.0 / (1.0 + f64::from((-x).exp()))) as f32;
        let (left, other) = children[node - labels];
        open.push((other as usize, score + log(right)));
        open.push((left as usize, score + log((1.0 - f64::from(right)) as f32)));
    }
    best.map(|(label, score)| (label, score.exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huffman_joins_the_two_rarest_first() {
        // Counts 5, 2, 1: node 3 joins leaves 2 and 1; the root joins it (weight 3) and leaf 0.
        match huffman(&[5, 2, 1]) {
            Ok(Loss::Hierarchical { children, .. }) => assert_eq!(children, [(2, 1), (3, 0)]),
            _ => panic!("no tree"),
        }
    }

    #[test]
    fn counts_that_make_no_tree_are_refused() {
        assert!(huffman(&[-1]).is_err());
        assert!(huffman(&[UNBUILT]).is_err());
    }
}
