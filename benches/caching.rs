//! Keys, laws and traces for the benches of the cache.

/// Numbers that look random and are the same each time (SplitMix64: Steele, Lea, Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number of 0 to 1, without 1.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A digest that stands for a number.
pub fn digest(number: u64) -> [u8; 32] {
    let mut random = Random::new(number);
    let mut digest = [0; 32];
    for word in digest.as_chunks_mut::<8>().0 {
        *word = random.next_u64().to_le_bytes();
    }
    digest
}

/// Zipf's law: the n-th of so many is asked for in proportion to n to the minus exponent.
#[derive(Clone, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// Of `count` numbers.
    pub fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        for part in &mut sums {
            *part /= sum;
        }
        Self(sums)
    }

    /// One number.
    pub fn pick(&self, random: &mut Random) -> u32 {
        let at = random.next_f64();
        self.0.partition_point(|sum| *sum < at) as u32
    }

    /// So many numbers.
    pub fn draw(&self, count: usize, seed: u64) -> Vec<u32> {
        let mut random = Random::new(seed);
        (0..count).map(|_| self.pick(&mut random)).collect()
    }
}
