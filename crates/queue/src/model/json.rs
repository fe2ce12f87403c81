//! JSON text that is known to be valid.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wavequill_kernel::InvalidValue;

/// Valid JSON text, as payloads, results and progress are kept.
///
/// ```
/// use wavequill_queue::Json;
///
/// let json = Json::of(&vec![1, 2, 3])?;
/// assert_eq!(json.as_str(), "[1,2,3]");
/// assert_eq!(json.read::<Vec<u8>>()?, [1, 2, 3]);
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// `null`.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`InvalidValue`] if the value cannot be JSON, such as a map whose keys are no strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidValue> {
        serde_json::to_string(value)
            .map(Self)
            .map_err(|error| InvalidValue::new("value", error, "writable as JSON"))
    }

    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidValue`] if the text is not one JSON value.
    pub fn from_text(text: impl Into<String>) -> Result<Self, InvalidValue> {
        let text = text.into();
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(InvalidValue::new("JSON text", error, "one valid JSON value")),
        }
    }

    /// Takes a text that a store wrote from a [`Json`] and gives back unchanged.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn trusted(text: String) -> Self {
        Self(text)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`InvalidValue`] saying where the text does not fit the type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, InvalidValue> {
        serde_json::from_str(&self.0)
            .map_err(|error| InvalidValue::new("JSON text", error, std::any::type_name::<T>()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of the text in bytes.
    #[expect(clippy::len_without_is_empty, reason = "valid JSON text is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_json_is_refused_with_the_place() {
        let refused = Json::from_text("{\"a\": }").unwrap_err();
        assert!(refused.to_string().contains("column 7"), "{refused}");
        assert!(Json::from_text("").is_err());
        assert!(Json::from_text("1 2").is_err());
        assert_eq!(Json::from_text(" [1]").unwrap().read::<Vec<u8>>().unwrap(), [1]);
    }
}
