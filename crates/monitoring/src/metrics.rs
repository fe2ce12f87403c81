//! What monitoring tells of itself.

/// Series that are kept.
pub(crate) const SERIES: &str = "wavequill_monitoring_series";
/// Their memory.
pub(crate) const MEMORY_BYTES: &str = "wavequill_monitoring_memory_bytes";
/// Handles over the limit of series.
pub(crate) const SERIES_OVERFLOW: &str = "wavequill_monitoring_series_overflow_total";
/// Samples that were refused.
pub(crate) const REJECTED_SAMPLES: &str = "wavequill_monitoring_rejected_samples_total";
