//! The form of a transcription request, read while it is uploaded.

use super::audio::UploadedFile;
use super::multipart::{MultipartReader, PartEvent};

/// All fields but the file together.
const MAX_FIELD_BYTES: usize = 64 * 1024;

/// The fields of a transcription request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TranscriptionForm {
    /// `model`.
    pub model: Option<String>,
    /// `language`.
    pub language: Option<String>,
    /// `prompt`.
    pub prompt: Option<String>,
    /// `response_format`; `json` if it was not given.
    pub response_format: String,
    /// `temperature`.
    pub temperature: Option<String>,
    /// `timestamp_granularities[]`.
    pub granularities: Vec<String>,
    /// `stream`.
    pub stream: Option<String>,
    /// The name of the file; `None` if there was none.
    pub file_name: Option<String>,
    /// The names of fields that are not known here.
    pub other: Vec<String>,
}

impl Default for TranscriptionForm {
    fn default() -> Self {
        Self {
            model: None,
            language: None,
            prompt: None,
            response_format: "json".into(),
            temperature: None,
            granularities: Vec::new(),
            stream: None,
            file_name: None,
            other: Vec::new(),
        }
    }
}

impl TranscriptionForm {
    /// A request as wavequill sends it: `verbose_json` with times of words and segments.
    pub fn verbose(model: impl Into<String>) -> Self {
        Self {
            model: Some(model.into()),
            response_format: "verbose_json".into(),
            granularities: vec!["word".into(), "segment".into()],
            file_name: Some("audio.wav".into()),
            ..Self::default()
        }
    }

    pub(crate) fn wants(&self, granularity: &str) -> bool {
        self.granularities.iter().any(|wanted| wanted == granularity)
    }

    fn set(&mut self, name: &str, value: String) {
        match name {
            "model" => self.model = Some(value),
            "language" => self.language = Some(value),
            "prompt" => self.prompt = Some(value),
            "response_format" => self.response_format = value,
            "temperature" => self.temperature = Some(value),
            "timestamp_granularities[]" => self.granularities.push(value),
            "stream" => self.stream = Some(value),
            other => self.other.push(other.to_owned()),
        }
    }
}

/// Reads a form as its body arrives: fields are bounded, the file is decoded or kept.
#[derive(Debug)]
pub(crate) struct FormReader {
    multipart: MultipartReader,
    parts: Parts,
}

#[derive(Debug)]
struct Parts {
    form: TranscriptionForm,
    file: UploadedFile,
    in_file: bool,
    field: Option<(String, Vec<u8>)>,
    field_bytes: usize,
}

impl FormReader {
    pub(crate) fn new(content_type: &str) -> Result<Self, String> {
        let parts = Parts {
            form: TranscriptionForm::default(),
            file: UploadedFile::new(),
            in_file: false,
            field: None,
            field_bytes: 0,
        };
        Ok(Self { multipart: MultipartReader::new(content_type)?, parts })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Self { multipart, parts } = self;
        multipart.push(bytes, &mut |event| parts.take(event))
    }

    pub(crate) fn finish(self) -> Result<(TranscriptionForm, UploadedFile), String> {
        self.multipart.finish()?;
        Ok((self.parts.form, self.parts.file))
    }
}

impl Parts {
    fn take(&mut self, event: PartEvent<'_>) -> Result<(), String> {
        match event {
            PartEvent::Begin { name, file_name } if name == "file" => {
                self.in_file = true;
                self.form.file_name = Some(file_name.unwrap_or_default());
            }
            PartEvent::Begin { name, .. } => self.field = Some((name, Vec::new())),
            PartEvent::Data(data) if self.in_file => self.file.push(data),
            PartEvent::Data(data) => {
                self.field_bytes += data.len();
                if self.field_bytes > MAX_FIELD_BYTES {
                    return Err(format!("the fields of the form are over {MAX_FIELD_BYTES} bytes"));
                }
                if let Some((_, value)) = &mut self.field {
                    value.extend_from_slice(data);
                }
            }
            PartEvent::End => {
                self.in_file = false;
                if let Some((name, value)) = self.field.take() {
                    self.form.set(&name, String::from_utf8_lossy(&value).into_owned());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(parts: &[(&str, &str)]) -> Result<TranscriptionForm, String> {
        let mut reader = FormReader::new("multipart/form-data; boundary=B")?;
        for (name, value) in parts {
            let part = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            reader.push(part.as_bytes())?;
        }
        reader.push(b"--B--\r\n")?;
        reader.finish().map(|(form, _)| form)
    }

    #[test]
    fn fields_are_read_and_unknown_ones_are_named() {
        let form = form(&[
            ("model", "whisper-1"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("response_format", "verbose_json"),
            ("chunking_strategy", "auto"),
        ])
        .unwrap();
        assert_eq!(form.model.as_deref(), Some("whisper-1"));
        assert!(form.wants("word") && form.wants("segment"));
        assert_eq!(
            (form.response_format.as_str(), form.other),
            ("verbose_json", vec!["chunking_strategy".into()])
        );
    }

    #[test]
    fn fields_are_bounded() {
        let error = form(&[("prompt", &"x".repeat(MAX_FIELD_BYTES + 1))]).unwrap_err();
        assert!(error.contains("65536 bytes"), "{error}");
    }
}
