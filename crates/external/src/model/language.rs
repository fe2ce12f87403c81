//! Languages as two or three letters, whatever way an API names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

/// A language as ISO 639-1 (two letters) or, where there are none, ISO 639-3 (three letters).
///
/// ```
/// use wavequill_external::LanguageCode;
///
/// let english: LanguageCode = "en-GB".parse()?;
/// assert_eq!(english.as_str(), "en");
/// assert_eq!("English".parse::<LanguageCode>()?, english, "whisper answers with names");
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LanguageCode {
    letters: [u8; 3],
}

impl LanguageCode {
    /// The letters.
    pub fn as_str(&self) -> &str {
        let len = if self.letters[2] == 0 { 2 } else { 3 };
        // The letters are ASCII by construction.
        self.letters.get(..len).and_then(|letters| std::str::from_utf8(letters).ok()).unwrap_or("und")
    }

    fn from_letters(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if !(2..=3).contains(&text.len()) || !text.iter().all(u8::is_ascii_alphabetic) {
            return None;
        }
        let mut letters = [0; 3];
        for (to, from) in letters.iter_mut().zip(text) {
            *to = from.to_ascii_lowercase();
        }
        Some(Self { letters })
    }
}

impl FromStr for LanguageCode {
    type Err = InvalidValue;

    /// Reads a code (`en`), a code with a region (`en-GB`, `en_GB`) or an English name (`english`).
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        let lower = text.to_lowercase();
        if let Some((_, code)) = NAMES.iter().find(|(name, _)| *name == lower) {
            return Self::from_letters(code).ok_or_else(|| unknown(text));
        }
        let code = text.split(['-', '_']).next().unwrap_or(text);
        Self::from_letters(code).ok_or_else(|| unknown(text))
    }
}

fn unknown(text: &str) -> InvalidValue {
    InvalidValue::new("language", format!("{text:?}"), "a code of two or three letters, such as en")
}

impl fmt::Display for LanguageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LanguageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LanguageCode({self})")
    }
}

impl TryFrom<String> for LanguageCode {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<LanguageCode> for String {
    fn from(code: LanguageCode) -> Self {
        code.to_string()
    }
}

/// The English names that whisper-like servers answer with, in ISO 639.
const NAMES: &[(&str, &str)] = &[
    ("afrikaans", "af"),
    ("albanian", "sq"),
    ("amharic", "am"),
    ("arabic", "ar"),
    ("armenian", "hy"),
    ("assamese", "as"),
    ("azerbaijani", "az"),
    ("bashkir", "ba"),
    ("basque", "eu"),
    ("belarusian", "be"),
    ("bengali", "bn"),
    ("bosnian", "bs"),
    ("breton", "br"),
    ("bulgarian", "bg"),
    ("burmese", "my"),
    ("cantonese", "yue"),
    ("castilian", "es"),
    ("catalan", "ca"),
    ("chinese", "zh"),
    ("croatian", "hr"),
    ("czech", "cs"),
    ("danish", "da"),
    ("dutch", "nl"),
    ("english", "en"),
    ("estonian", "et"),
    ("faroese", "fo"),
    ("finnish", "fi"),
    ("flemish", "nl"),
    ("french", "fr"),
    ("galician", "gl"),
    ("georgian", "ka"),
    ("german", "de"),
    ("greek", "el"),
    ("gujarati", "gu"),
    ("haitian", "ht"),
    ("haitian creole", "ht"),
    ("hausa", "ha"),
    ("hawaiian", "haw"),
    ("hebrew", "he"),
    ("hindi", "hi"),
    ("hungarian", "hu"),
    ("icelandic", "is"),
    ("indonesian", "id"),
    ("italian", "it"),
    ("japanese", "ja"),
    ("javanese", "jv"),
    ("kannada", "kn"),
    ("kazakh", "kk"),
    ("khmer", "km"),
    ("korean", "ko"),
    ("lao", "lo"),
    ("latin", "la"),
    ("latvian", "lv"),
    ("lingala", "ln"),
    ("lithuanian", "lt"),
    ("luxembourgish", "lb"),
    ("macedonian", "mk"),
    ("malagasy", "mg"),
    ("malay", "ms"),
    ("malayalam", "ml"),
    ("maltese", "mt"),
    ("maori", "mi"),
    ("marathi", "mr"),
    ("moldavian", "ro"),
    ("moldovan", "ro"),
    ("mongolian", "mn"),
    ("nepali", "ne"),
    ("norwegian", "no"),
    ("nynorsk", "nn"),
    ("occitan", "oc"),
    ("pashto", "ps"),
    ("persian", "fa"),
    ("polish", "pl"),
    ("portuguese", "pt"),
    ("punjabi", "pa"),
    ("romanian", "ro"),
    ("russian", "ru"),
    ("sanskrit", "sa"),
    ("serbian", "sr"),
    ("shona", "sn"),
    ("sindhi", "sd"),
    ("sinhala", "si"),
    ("slovak", "sk"),
    ("slovenian", "sl"),
    ("somali", "so"),
    ("spanish", "es"),
    ("sundanese", "su"),
    ("swahili", "sw"),
    ("swedish", "sv"),
    ("tagalog", "tl"),
    ("tajik", "tg"),
    ("tamil", "ta"),
    ("tatar", "tt"),
    ("telugu", "te"),
    ("thai", "th"),
    ("tibetan", "bo"),
    ("turkish", "tr"),
    ("turkmen", "tk"),
    ("ukrainian", "uk"),
    ("urdu", "ur"),
    ("uzbek", "uz"),
    ("valencian", "ca"),
    ("vietnamese", "vi"),
    ("welsh", "cy"),
    ("yiddish", "yi"),
    ("yoruba", "yo"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_is_a_code() {
        for (name, code) in NAMES {
            assert_eq!(name.parse::<LanguageCode>().unwrap().as_str(), *code);
        }
    }

    #[test]
    fn what_is_no_language_is_refused() {
        for text in ["", "e", "klingonese", "12", "e\n"] {
            assert!(text.parse::<LanguageCode>().is_err(), "{text:?}");
        }
    }
}
