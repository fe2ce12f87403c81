//! What a series is called: a metric's name and its labels.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a metric, as it was recorded: outputs sanitise it, this does not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricName(Arc<str>);

impl MetricName {
    /// A name; any text will do.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MetricName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// One series: a name and at most [`SeriesKey::MAX_LABELS`] labels, sorted, each name once. Cheap to clone.
///
/// ```
/// use wavequill_monitoring::SeriesKey;
///
/// let one = SeriesKey::new("lookups_total", [("level", "l1"), ("outcome", "hit")]);
/// let other = SeriesKey::new("lookups_total", [("outcome", "hit"), ("level", "l1")]);
/// assert_eq!(one, other);
/// assert_eq!(one.to_string(), r#"lookups_total{level="l1",outcome="hit"}"#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(Arc<Parts>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Parts {
    name: MetricName,
    #[serde(default, with = "as_map")]
    labels: Pairs,
}

type Pairs = Vec<(Arc<str>, Arc<str>)>;

impl SeriesKey {
    /// How many labels a series may have; a collector counts what has more under the overflow series.
    pub const MAX_LABELS: usize = 8;

    /// The label that marks the series which takes what no longer fits.
    pub const OVERFLOW_LABEL: &'static str = "overflow";

    /// A key of these labels in any order. Of two labels of one name the later counts.
    pub fn new<N, V>(name: impl Into<Arc<str>>, labels: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let sorted: BTreeMap<Arc<str>, Arc<str>> =
            labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self(Arc::new(Parts { name: MetricName::new(name), labels: sorted.into_iter().collect() }))
    }

    /// A key without labels.
    pub fn bare(name: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Parts { name: MetricName::new(name), labels: Vec::new() }))
    }

    /// The series that takes what is over the limit of a metric: `name{overflow="true"}`.
    pub fn overflow(name: impl Into<Arc<str>>) -> Self {
        Self::new(name, [(Self::OVERFLOW_LABEL, "true")])
    }

    /// The same series with one label more, or another value of it.
    #[must_use]
    pub fn with_label(&self, name: &str, value: &str) -> Self {
        let labels = self.labels().filter(|(known, _)| *known != name).chain([(name, value)]);
        Self::new(self.0.name.0.clone(), labels)
    }

    /// The metric's name.
    pub fn name(&self) -> &MetricName {
        &self.0.name
    }

    /// The labels, sorted by name.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.0.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// Bytes on the heap, names that are shared counted each time.
    pub(crate) fn heap_bytes(&self) -> usize {
        let text: usize = self.0.labels.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
        self.0.name.as_str().len() + text + size_of::<Parts>() + 32 * self.0.labels.len()
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name.as_str())?;
        for (at, (name, value)) in self.labels().enumerate() {
            write!(f, "{}{name}={value:?}", if at == 0 { '{' } else { ',' })?;
        }
        if self.0.labels.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

impl fmt::Debug for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for SeriesKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SeriesKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Parts::deserialize(deserializer).map(|parts| Self(Arc::new(parts)))
    }
}

/// Labels as a map, which sorts them and refuses none.
mod as_map {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        labels: &[(Arc<str>, Arc<str>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(labels.iter().map(|(name, value)| (&**name, &**value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<super::Pairs, D::Error> {
        BTreeMap::<Arc<str>, Arc<str>>::deserialize(deserializer).map(|map| map.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_json_with_its_labels_sorted() {
        let key = SeriesKey::new("a", [("z", "1"), ("b", "\"2\"")]);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, r#"{"name":"a","labels":{"b":"\"2\"","z":"1"}}"#);
        assert_eq!(serde_json::from_str::<SeriesKey>(&json).unwrap(), key);
    }

    #[test]
    fn a_label_that_is_given_again_takes_the_new_value() {
        let key = SeriesKey::new("a", [("b", "1")]).with_label("b", "2").with_label("c", "3");
        assert_eq!(key, SeriesKey::new("a", [("b", "2"), ("c", "3")]));
        assert_eq!(key.label("b"), Some("2"));
    }
}
