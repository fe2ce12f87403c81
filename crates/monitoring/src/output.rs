//! What leaves the process for others to read: pages for scrapers, rules for Prometheus, figures for scripts.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::MonitoringError;
use crate::model::snapshot::{MetricDescription, MetricsSnapshot};

pub(crate) mod exposition;
pub(crate) mod families;
mod prometheus_rules;
mod stats;

pub use prometheus_rules::prometheus_rules;
pub use stats::{HistogramStats, SeriesStats, Stats};

/// How metrics are written for a scraper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    Openmetrics,
    /// Prometheus' length-delimited protobuf, with native buckets.
    #[cfg(feature = "protobuf")]
    Protobuf,
}

impl Format {
    /// Every format that this build can write.
    pub const ALL: &'static [Self] = &[
        Self::Text,
        Self::Openmetrics,
        #[cfg(feature = "protobuf")]
        Self::Protobuf,
    ];

    /// `text`, `openmetrics`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Openmetrics => "openmetrics",
            #[cfg(feature = "protobuf")]
            Self::Protobuf => "protobuf",
        }
    }

    /// The answer's `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Openmetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            #[cfg(feature = "protobuf")]
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format that a scraper likes best of those it names in its `Accept`; text if it names none.
    ///
    /// ```
    /// use wavequill_monitoring::Format;
    ///
    /// let accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// assert_eq!(Format::negotiate(accept), Format::Openmetrics);
    /// assert_eq!(Format::negotiate("text/html"), Format::Text);
    /// ```
    pub fn negotiate(accept: &str) -> Self {
        let choices = accept.split(',').filter_map(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let media = parts.next()?.to_ascii_lowercase();
            let parameters: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
            let quality = parameters.iter().find_map(|part| part.strip_prefix("q=")?.parse().ok());
            let format = Self::of_media(&media, &parameters)?;
            Some((format, quality.unwrap_or(1.0_f32)))
        });
        // Of equals the first counts.
        let best = choices.reduce(|best, other| if other.1 > best.1 { other } else { best });
        best.filter(|(_, quality)| *quality > 0.0).map_or(Self::Text, |(format, _)| format)
    }

    fn of_media(media: &str, parameters: &[String]) -> Option<Self> {
        let version = parameters.iter().find_map(|part| part.strip_prefix("version="));
        match media {
            "application/openmetrics-text" if version.is_none_or(|version| version.starts_with("1.")) => {
                Some(Self::Openmetrics)
            }
            "text/plain" => Some(Self::Text),
            #[cfg(feature = "protobuf")]
            "application/vnd.google.protobuf"
                if parameters.iter().any(|part| part == "encoding=delimited") =>
            {
                Some(Self::Protobuf)
            }
            _ => None,
        }
    }
}

/// Writes a snapshot; the catalogue gives kinds' texts and units.
///
/// Names are made valid for the format. A distribution's buckets are written at powers of two, where they are exact; of one
/// that took no value yet only the sum and count.
///
/// # Errors
/// [`MonitoringError::NameClash`] if two metrics have one name then; [`MonitoringError::OutputTooLarge`] over `limit_bytes`.
pub fn render(
    snapshot: &MetricsSnapshot,
    catalogue: &[MetricDescription],
    format: Format,
    limit_bytes: usize,
) -> Result<Vec<u8>, MonitoringError> {
    let text = |dialect| exposition::write(&families::gather(snapshot, catalogue)?, dialect, limit_bytes);
    match format {
        Format::Text => text(exposition::Dialect::Text),
        Format::Openmetrics => text(exposition::Dialect::Openmetrics),
        #[cfg(feature = "protobuf")]
        Format::Protobuf => crate::adapters::protobuf::write(snapshot, catalogue, limit_bytes),
    }
}

/// A time as RFC 3339 writes it, in UTC, to the millisecond.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a date in the proleptic Gregorian calendar, by eras of 400 years that begin in March (Hinnant).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
#[path = "output/tests.rs"]
mod tests;
