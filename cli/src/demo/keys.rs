//! How many keys a query reads.

/// The sizes of a sparse program, as its constants say.
pub struct Sparsity {
    /// Keys per compressed block.
    pub length: usize,
    /// From one compressed block to the next.
    pub stride: usize,
    /// Keys per selected block.
    pub block: usize,
    /// Selected blocks per query.
    pub count: usize,
    /// Keys of the window.
    pub window: usize,
}

impl Sparsity {
    /// From the constants of a program, by their names in `examples/nsa.nsa`.
    pub fn of(constants: &[(String, f64)]) -> Option<Sparsity> {
        let value = |name: &str| constants.iter().find(|(n, _)| n == name).map(|(_, v)| *v as usize);
        Some(Sparsity {
            length: value("L")?,
            stride: value("STRIDE")?,
            block: value("BLOCK")?,
            count: value("N")?,
            window: value("WINDOW")?,
        })
    }

    /// Keys (compressed ones included) that the query at position `t` reads.
    fn of_query(&self, t: usize) -> usize {
        let compressed = (t + 1).checked_sub(self.length).map_or(0, |n| n / self.stride + 1);
        // The query's own block is always chosen, and is read up to the query.
        let own = t / self.block;
        let others = own.min(self.count - 1);
        let selected = others * self.block + t % self.block + 1;
        compressed + selected + self.window.min(t + 1)
    }

    /// The same, of all queries of a sequence, on average.
    pub fn average(&self, length: usize) -> f64 {
        (0..length).map(|t| self.of_query(t)).sum::<usize>() as f64 / length.max(1) as f64
    }
}

/// Keys that a query of full causal attention reads, on average.
pub fn full_keys(length: usize) -> f64 {
    (length as f64 + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let paper = Sparsity { length: 32, stride: 16, block: 64, count: 16, window: 512 };
        assert_eq!(paper.of_query(0), 2);
        assert_eq!(paper.of_query(31), 1 + 32 + 32);
        assert_eq!(paper.of_query(65535), 4095 + 1024 + 512);
        // Everything that is visible is read by the selected branch while there are few blocks.
        assert_eq!(paper.of_query(200), (201 - 32) / 16 + 1 + 201 + 201);
        assert_eq!(full_keys(3), 2.0);
    }
}
