//! `multipart/form-data` (RFC 7578) of exactly known length, streamed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::body::{ChainBody, ReplayBody};

/// A form under way: fields first, then one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    fields: Vec<(&'static str, String)>,
}

/// A form that is ready to be sent.
pub(crate) struct Encoded {
    pub(crate) content_type: String,
    pub(crate) body: Arc<dyn ReplayBody>,
}

impl Form {
    pub(crate) fn field(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Ends the form with a file, whose length must be known.
    pub(crate) fn file(
        &self,
        name: &'static str,
        file_name: &str,
        content_type: &str,
        file: Arc<dyn ReplayBody>,
    ) -> Encoded {
        let boundary = self.boundary();
        let mut head = BytesMut::new();
        for (name, value) in &self.fields {
            put(
                &mut head,
                &[
                    "--",
                    &boundary,
                    "\r\nContent-Disposition: form-data; name=\"",
                    &escaped(name),
                    "\"\r\n\r\n",
                ],
            );
            put(&mut head, &[value, "\r\n"]);
        }
        put(&mut head, &["--", &boundary, "\r\nContent-Disposition: form-data; name=\"", &escaped(name)]);
        put(
            &mut head,
            &["\"; filename=\"", &escaped(file_name), "\"\r\nContent-Type: ", content_type, "\r\n\r\n"],
        );
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let body = Arc::new(ChainBody::new(vec![Arc::new(head.freeze()), file, Arc::new(tail)]));
        Encoded { content_type: format!("multipart/form-data; boundary={boundary}"), body }
    }

    /// 128 random bits that are in no field. That they are in the file by chance is less likely than a broken disk.
    fn boundary(&self) -> String {
        loop {
            let boundary = format!("wavequill-{}", random_hex());
            if !self.fields.iter().any(|(_, value)| value.contains(&boundary)) {
                return boundary;
            }
        }
    }
}

/// 128 bits that nobody can guess, as 32 digits: two outputs of SipHash under keys that the operating system drew.
pub(crate) fn random_hex() -> String {
    let word = |n: u64| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(n);
        hasher.finish()
    };
    format!("{:016x}{:016x}", word(1), word(2))
}

fn put(to: &mut BytesMut, parts: &[&str]) {
    for part in parts {
        to.put_slice(part.as_bytes());
    }
}

/// As browsers do it (WHATWG HTML, *multipart form data*): a name cannot end its header.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(encoded: &Encoded) -> String {
        let mut reader = encoded.body.open();
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all.len() as u64, encoded.body.len(), "the length is exact");
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn fields_come_before_the_file_and_the_length_is_exact() {
        let mut form = Form::default();
        form.field("model", "whisper-1").field("prompt", "two\r\nlines, \"quoted\"");
        let encoded = form.file("file", "chunk.flac", "audio/flac", Arc::new(Bytes::from_static(b"AUDIO")));
        let boundary = encoded.content_type.rsplit('=').next().unwrap().to_owned();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\ntwo\r\nlines, \"quoted\"\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"chunk.flac\"\r\n\
             Content-Type: audio/flac\r\n\r\nAUDIO\r\n--{boundary}--\r\n"
        );
        assert_eq!(text(&encoded).await, expected);
    }

    #[tokio::test]
    async fn a_file_name_cannot_end_its_header() {
        let encoded = Form::default().file("file", "a\"\r\nX: y.wav", "audio/wav", Arc::new(Bytes::new()));
        assert!(text(&encoded).await.contains("filename=\"a%22%0D%0AX: y.wav\""));
    }

    #[test]
    fn two_boundaries_are_never_the_same() {
        let form = Form::default();
        assert_ne!(form.boundary(), form.boundary());
        assert_eq!(random_hex().len(), 32);
    }
}
