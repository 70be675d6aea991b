//! The lengths of run-time axes: one sequence, or a packed batch of them.

/// The lengths of one run-time axis, one per sequence of the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lengths(Vec<i64>);

impl Lengths {
    /// A batch of sequences, which lie one behind the other in memory. Lengths may be 0.
    pub fn packed(lengths: &[usize]) -> Self {
        Lengths(lengths.iter().map(|n| to_i64(*n)).collect())
    }

    /// A batch given by cumulative lengths: sequence `n` has `bounds[n + 1] - bounds[n]` values. Bounds that decrease give
    /// negative lengths, which planning reports.
    pub fn cumulative(bounds: &[usize]) -> Self {
        Lengths(bounds.windows(2).map(|w| to_i64(w[1]).wrapping_sub(to_i64(w[0]))).collect())
    }

    /// The lengths, one per sequence.
    pub fn as_slice(&self) -> &[i64] {
        &self.0
    }
}

/// Lengths beyond `i64` do not exist in memory; they stay too large for any check that follows.
fn to_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl From<usize> for Lengths {
    /// One sequence.
    fn from(length: usize) -> Self {
        Lengths(vec![to_i64(length)])
    }
}

impl From<&[usize]> for Lengths {
    /// A packed batch, see [`Lengths::packed`].
    fn from(lengths: &[usize]) -> Self {
        Lengths::packed(lengths)
    }
}

impl From<Vec<usize>> for Lengths {
    /// A packed batch, see [`Lengths::packed`].
    fn from(lengths: Vec<usize>) -> Self {
        Lengths::packed(&lengths)
    }
}

/// The lengths of all run-time axes of a program, by name.
///
/// ```
/// use nsa::{Lengths, Shape};
/// let one = Shape::new().with("t", 1024).with("s", 1024);
/// let batch = Shape::new().with("t", vec![0, 15, 205]).with("s", Lengths::cumulative(&[0, 0, 15, 220]));
/// # assert_eq!(batch.lengths("t"), batch.lengths("s"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shape(Vec<(String, Lengths)>);

impl Shape {
    /// No lengths yet.
    pub fn new() -> Self {
        Shape::default()
    }

    /// Sets the lengths of an axis; a number is one sequence, a list of numbers a packed batch.
    pub fn with(mut self, axis: impl Into<String>, lengths: impl Into<Lengths>) -> Self {
        let axis = axis.into();
        self.0.retain(|(name, _)| *name != axis);
        self.0.push((axis, lengths.into()));
        self
    }

    /// The lengths of an axis.
    pub fn lengths(&self, axis: &str) -> Option<&Lengths> {
        self.0.iter().find(|(name, _)| name == axis).map(|(_, lengths)| lengths)
    }

    /// The names of all axes that have been set.
    pub fn axes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}
