//! Repeatable random numbers for tests.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e3779b97f4a7c15) ^ 0x1234_5678_9abc_def0)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d049bb133111eb);
        x ^ (x >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0.
    pub fn normals(&mut self, count: usize, deviation: f64) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let (a, b) = (1.0 - self.unit(), self.unit());
                (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos() * deviation
            })
            .collect()
    }
}
