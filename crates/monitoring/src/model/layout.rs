//! Where a value goes: base-2 exponential buckets, 64 an octave, upper bounds inclusive.
//!
//! This is scale 6 of OTLP's exponential histogram and schema 6 of Prometheus' native one. No logarithm is taken: the
//! exponent gives the octave, a table of 128 entries and one comparison give the bucket in it.

use serde::{Deserialize, Serialize};

/// Buckets an octave.
pub(crate) const SUB: usize = 64;
/// Octaves of one layout; what is beyond goes to the first or last bucket.
pub(crate) const OCTAVES: usize = 64;
/// log₂ of [`SUB`]: the scale as OTLP counts it.
pub(crate) const SCALE: u8 = 6;

/// What a metric counts in: it chooses the range of the buckets and the grain of the exact sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricUnit {
    /// Seconds: values from 2⁻³⁰ (about 1 ns) to 2³⁴, summed in nanoseconds.
    Seconds,
    /// Shares and factors: values from 2⁻³⁰ to 2³⁴, summed in 2⁻²⁰.
    Ratio,
    /// Bytes: values from 1 to 2⁶⁴, summed in bytes.
    Bytes,
    /// Whole things: values from 1 to 2⁶⁴, summed in ones.
    Count,
    /// Not said: as [`MetricUnit::Ratio`].
    Other,
}

impl MetricUnit {
    /// The unit a name ends with, by Prometheus' convention; `_total` is looked through.
    pub fn of_name(name: &str) -> Self {
        let stem = name.strip_suffix("_total").unwrap_or(name);
        match stem.rsplit('_').next() {
            Some("seconds") => Self::Seconds,
            Some("ratio") => Self::Ratio,
            Some("bytes") => Self::Bytes,
            _ => Self::Other,
        }
    }

    /// What the description of a metric says.
    pub(crate) fn of_description(unit: metrics::Unit) -> Self {
        use metrics::Unit;
        match unit {
            Unit::Seconds => Self::Seconds,
            Unit::Bytes => Self::Bytes,
            // Nanoseconds reach 2³⁴ within a minute; whole ones are all there is.
            Unit::Count | Unit::Nanoseconds => Self::Count,
            _ => Self::Other,
        }
    }

    /// The word that OpenMetrics uses, if there is one.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Seconds => Some("seconds"),
            Self::Ratio => Some("ratio"),
            Self::Bytes => Some("bytes"),
            Self::Count | Self::Other => None,
        }
    }

    /// The exponent of the lowest bound: the first bucket begins at 2 to this power.
    pub(crate) const fn lowest_exponent(self) -> i32 {
        match self {
            Self::Seconds | Self::Ratio | Self::Other => -30,
            Self::Bytes | Self::Count => 0,
        }
    }

    /// How many ticks of the exact sum are one unit.
    pub(crate) const fn ticks_per_unit(self) -> f64 {
        match self {
            Self::Seconds => 1e9,
            Self::Bytes | Self::Count => 1.0,
            Self::Ratio | Self::Other => 1_048_576.0,
        }
    }

    /// A value in ticks, to the nearest.
    pub(crate) fn ticks(self, value: f64) -> u64 {
        ticks(value, self.ticks_per_unit())
    }

    /// Ticks in units.
    pub(crate) fn ticks_to_units(self, ticks: u64) -> f64 {
        ticks as i64 as f64 / self.ticks_per_unit()
    }

    /// The index of the first bucket of this layout, in OTLP's numbering at scale 6.
    pub(crate) const fn first_index(self) -> i32 {
        self.lowest_exponent() * SUB as i32
    }
}

/// A value of at least 0 in ticks, to the nearest: adding a half and cutting is half the instructions of `round`.
#[inline]
pub(crate) fn ticks(value: f64, per_unit: f64) -> u64 {
    (value * per_unit + 0.5) as i64 as u64
}

/// A bucket of the whole layout: which octave (0 to 63) and which of its 64 buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) octave: usize,
    pub(crate) bucket: usize,
    pub(crate) beyond: bool,
}

const MANTISSA: u64 = (1 << 52) - 1;
const SLICE_BITS: u32 = 45;

/// Finds the bucket of a value that is finite and above zero.
#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "a slice is 7 bits of the mantissa: below 128, the length of both tables"
)]
pub(crate) fn slot(value: f64, lowest_exponent: i32) -> Slot {
    // One less than the value's bits: what lies on a bound falls into the bucket below it.
    let below = value.to_bits() - 1;
    let mantissa = below & MANTISSA;
    let slice = (mantissa >> SLICE_BITS) as usize & 127;
    let bucket = SLICES.bucket[slice] as usize + usize::from(mantissa >= SLICES.bound[slice]);
    let octave = (below >> 52) as i32 - 1023 - lowest_exponent;
    if (0..OCTAVES as i32).contains(&octave) {
        Slot { octave: octave as usize, bucket, beyond: false }
    } else if octave < 0 {
        Slot { octave: 0, bucket: 0, beyond: true }
    } else {
        Slot { octave: OCTAVES - 1, bucket: SUB - 1, beyond: true }
    }
}

/// The index of the bucket of a value that is finite and above zero: ⌈2ˢ·log₂ v⌉ − 1 at scale s = 6, within the layout.
pub(crate) fn index_of(value: f64, unit: MetricUnit) -> i32 {
    let slot = slot(value, unit.lowest_exponent());
    unit.first_index() + (slot.octave * SUB + slot.bucket) as i32
}

/// The lower bound of a bucket at a scale: 2 to the power of index · 2⁻ˢ.
pub(crate) fn lower_bound(index: i32, scale: u8) -> f64 {
    let per_octave = 1_i32 << scale;
    let octave = index.div_euclid(per_octave);
    let within = index.rem_euclid(per_octave) as usize * (SUB >> scale.min(SCALE));
    let mantissa = BOUNDS.get(within).copied().unwrap_or(0);
    let exponent = (octave + 1023).clamp(1, 2046) as u64;
    f64::from_bits(exponent << 52 | mantissa)
}

/// What a bucket answers: the value whose relative error to both bounds is the same, 2·lo·hi ÷ (lo + hi).
pub(crate) fn representative(index: i32, scale: u8) -> f64 {
    let low = lower_bound(index, scale);
    let high = lower_bound(index + 1, scale);
    2.0 * low * (high / (low + high))
}

struct Slices {
    bucket: [u8; 128],
    bound: [u64; 128],
}

/// For each 128th of an octave: the bucket it begins in, and where the next begins (there is one at most, since the
/// narrowest bucket is wider than a slice).
static SLICES: Slices = slices();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn slices() -> Slices {
    let mut slices = Slices { bucket: [0; 128], bound: [0; 128] };
    let mut slice = 0;
    let mut bucket = 0;
    while slice < 128 {
        let start = (slice as u64) << SLICE_BITS;
        while bucket + 1 < SUB && BOUNDS[bucket + 1] <= start {
            bucket += 1;
        }
        slices.bucket[slice] = bucket as u8;
        slices.bound[slice] = if bucket + 1 < SUB { BOUNDS[bucket + 1] } else { 1 << 52 };
        slice += 1;
    }
    slices
}

/// The mantissas of 2^(k/64), k = 0 to 63, rounded down: the greatest number that is not above the bound.
const BOUNDS: [u64; SUB] = [
    0x0_0000_0000_0000,
    0x0_2C9A_3E77_8060,
    0x0_59B0_D315_8574,
    0x0_8745_1875_9BC8,
    0x0_B558_6CF9_890F,
    0x0_E3EC_32D3_D1A2,
    0x1_1301_D012_5B50,
    0x1_429A_AEA9_2DDF,
    0x1_72B8_3C7D_517A,
    0x1_A35B_EB6F_CB75,
    0x1_D487_3168_B9AA,
    0x2_063B_8862_8CD6,
    0x2_387A_6E75_6238,
    0x2_6B45_65E2_7CDD,
    0x2_9E9D_F51F_DEE1,
    0x2_D285_A6E4_030B,
    0x3_06FE_0A31_B715,
    0x3_3C08_B264_16FF,
    0x3_71A7_373A_A9CA,
    0x3_A7DB_34E5_9FF6,
    0x3_DEA6_4C12_3422,
    0x4_160A_21F7_2E29,
    0x4_4E08_6061_892D,
    0x4_86A2_B5C1_3CD0,
    0x4_BFDA_D536_2A27,
    0x4_F9B2_769D_2CA6,
    0x5_342B_569D_4F81,
    0x5_6F47_36B5_27DA,
    0x5_AB07_DD48_5429,
    0x5_E76F_15AD_2148,
    0x6_247E_B03A_5584,
    0x6_6238_8255_2224,
    0x6_A09E_667F_3BCC,
    0x6_DFB2_3C65_1A2E,
    0x7_1F75_E8EC_5F73,
    0x7_5FEB_5642_67C8,
    0x7_A114_73EB_0186,
    0x7_E2F3_36CF_4E62,
    0x8_2589_994C_CE12,
    0x8_68D9_9B44_92EC,
    0x8_ACE5_422A_A0DB,
    0x8_F1AE_9915_7736,
    0x9_3737_B0CD_C5E4,
    0x9_7D82_9FDE_4E4F,
    0x9_C491_82A3_F090,
    0xA_0C66_7B5D_E564,
    0xA_5503_B23E_255C,
    0xA_9E6B_5579_FDBF,
    0xA_E89F_995A_D3AD,
    0xB_33A2_B84F_15FA,
    0xB_7F76_F2FB_5E46,
    0xB_CC1E_904B_C1D2,
    0xC_199B_DD85_529C,
    0xC_67F1_2E57_D14B,
    0xC_B720_DCEF_9069,
    0xD_072D_4A07_897B,
    0xD_5818_DCFB_A487,
    0xD_A9E6_03DB_3285,
    0xD_FC97_337B_9B5E,
    0xE_502E_E78B_3FF6,
    0xE_A4AF_A2A4_90D9,
    0xE_FA1B_EE61_5A27,
    0xF_5076_5B6E_4540,
    0xF_A7C1_819E_90D8,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Little-endian digits of base 2³².
    fn times(digits: &[u32], factor: u64) -> Vec<u32> {
        let mut out = Vec::new();
        let mut carry = 0_u128;
        for digit in digits {
            carry += u128::from(*digit) * u128::from(factor);
            out.push(carry as u32);
            carry >>= 32;
        }
        while carry > 0 {
            out.push(carry as u32);
            carry >>= 32;
        }
        out
    }

    fn power_of_64(mantissa: u64) -> Vec<u32> {
        (0..64).fold(vec![1], |product, _| times(&product, mantissa))
    }

    fn power_of_two(exponent: usize) -> Vec<u32> {
        let mut out = vec![0; exponent / 32];
        out.push(1 << (exponent % 32));
        out
    }

    fn at_most(left: &[u32], right: &[u32]) -> bool {
        (left.len(), left.iter().rev().collect::<Vec<_>>())
            <= (right.len(), right.iter().rev().collect::<Vec<_>>())
    }

    #[test]
    fn each_bound_is_the_greatest_number_not_above_the_real_one() {
        for (k, mantissa) in BOUNDS.iter().enumerate() {
            let full = mantissa | 1 << 52;
            let exact = power_of_two(52 * 64 + k);
            assert!(at_most(&power_of_64(full), &exact), "bound {k}");
            assert!(!at_most(&power_of_64(full + 1), &exact), "bound {k}");
        }
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it_and_the_next_number_to_the_one_above() {
        for unit in [MetricUnit::Seconds, MetricUnit::Bytes] {
            for index in unit.first_index() + 1..unit.first_index() + (OCTAVES * SUB) as i32 {
                let bound = lower_bound(index, SCALE);
                assert_eq!(index_of(bound, unit), index - 1, "{bound}");
                assert_eq!(index_of(bound.next_up(), unit), index, "{bound}");
            }
        }
    }

    #[test]
    fn what_is_beyond_the_layout_goes_to_its_first_or_last_bucket() {
        let unit = MetricUnit::Seconds;
        assert_eq!(index_of(f64::MIN_POSITIVE / 4.0, unit), unit.first_index());
        assert_eq!(index_of(f64::MAX, unit), unit.first_index() + 4095);
        assert!(slot(2.0_f64.powi(-30), -30).beyond);
        assert!(!slot(2.0_f64.powi(34), -30).beyond);
    }

    proptest! {
        #[test]
        fn the_bucket_is_the_one_that_the_logarithm_tells(exponent in -29.9_f64..33.9) {
            let value = exponent.exp2();
            let by_log = (64.0 * value.log2()).ceil() as i32 - 1;
            let index = index_of(value, MetricUnit::Seconds);
            // The logarithm itself is rounded: only next to a bound may they differ.
            let nearest_bound = (64.0 * value.log2()).round() / 64.0;
            if (value.log2() - nearest_bound).abs() > 1e-12 {
                prop_assert_eq!(index, by_log);
            }
            prop_assert!(lower_bound(index, SCALE) < value && value <= lower_bound(index + 1, SCALE));
        }

        #[test]
        fn the_answer_of_a_bucket_is_within_0_542_percent_of_all_it_holds(exponent in -29.9_f64..33.9) {
            let value = exponent.exp2();
            let answer = representative(index_of(value, MetricUnit::Other), SCALE);
            prop_assert!((answer / value - 1.0).abs() <= 0.005_42, "{} for {}", answer, value);
        }

        #[test]
        fn a_coarser_scale_holds_whole_buckets_of_a_finer(index in -1_000_i32..1_000, by in 1_u8..6) {
            let coarse = index >> by;
            prop_assert!(lower_bound(coarse, SCALE - by) <= lower_bound(index, SCALE));
            prop_assert!(lower_bound(index + 1, SCALE) <= lower_bound(coarse + 1, SCALE - by));
        }
    }
}
