//! Named values that are part of what was asked.

use std::collections::BTreeMap;

/// One named value. The type is part of the key: the text `1` is not the number 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataValue {
    /// Text, compared byte by byte.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

impl From<&str> for MetadataValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for MetadataValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for MetadataValue {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<i64> for MetadataValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for MetadataValue {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

/// Named values in the order of their names, whatever the order they were given in.
///
/// ```
/// use wavequill_caching::Metadata;
///
/// let metadata = Metadata::new().with("voice", "alto").with("speed", 2);
/// assert_eq!(metadata.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, MetadataValue>);

impl Metadata {
    /// No values.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a value, or replaces the one of this name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<MetadataValue>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetadataValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}
