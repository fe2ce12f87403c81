//! Reads `multipart/form-data` (RFC 7578) as it arrives. Nothing is kept but the end of a piece that may be the
//! beginning of a delimiter, and the headers of a part.

const MAX_PART_HEADERS: usize = 16 * 1024;

/// What was read next.
#[derive(Debug, PartialEq)]
pub(crate) enum PartEvent<'a> {
    /// A part begins.
    Begin { name: String, file_name: Option<String> },
    /// More of its content.
    Data(&'a [u8]),
    /// It has ended.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Preamble,
    /// Behind a delimiter: a line break follows, or two hyphens.
    Delimiter,
    Headers,
    Content,
    Epilogue,
}

/// The reader of one body.
#[derive(Debug)]
pub(crate) struct MultipartReader {
    /// A line break, two hyphens, the boundary.
    delimiter: Vec<u8>,
    state: State,
    buffer: Vec<u8>,
}

impl MultipartReader {
    /// The reader for a body of this content type.
    pub(crate) fn new(content_type: &str) -> Result<Self, String> {
        let mut parts = content_type.split(';').map(str::trim);
        if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data")) {
            return Err(format!("the content type is {content_type:?}, not multipart/form-data"));
        }
        let boundary = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
            .map(|(_, value)| value.trim_matches('"'))
            .filter(|boundary| (1..=70).contains(&boundary.len()))
            .ok_or("the content type has no boundary of 1 to 70 characters")?;
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first delimiter may stand at the very beginning, without a line break before it.
        Ok(Self { delimiter, state: State::Preamble, buffer: b"\r\n".to_vec() })
    }

    /// Takes more of the body.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        on_event: &mut dyn FnMut(PartEvent<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(after) = self.step(rest, on_event)? {
            rest = after;
        }
        let used = buffer.len() - rest.len();
        buffer.drain(..used);
        self.buffer = buffer;
        Ok(())
    }

    /// Whether the body has ended as it should.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Epilogue => Ok(()),
            _ => Err("the multipart body ends before its last delimiter".into()),
        }
    }

    /// Reads one thing, and returns what is left; `None` once there is not enough.
    fn step<'a>(
        &mut self,
        buffer: &'a [u8],
        on_event: &mut dyn FnMut(PartEvent<'_>) -> Result<(), String>,
    ) -> Result<Option<&'a [u8]>, String> {
        match self.state {
            State::Preamble | State::Content => self.content(buffer, on_event),
            State::Delimiter => match buffer {
                [b'-', b'-', ..] => {
                    self.state = State::Epilogue;
                    Ok(Some(&[]))
                }
                [b'\r', b'\n', rest @ ..] => {
                    self.state = State::Headers;
                    Ok(Some(rest))
                }
                [_, _, ..] => Err("a multipart delimiter is followed by neither a part nor the end".into()),
                _ => Ok(None),
            },
            State::Headers => {
                let Some(end) = find(buffer, b"\r\n\r\n") else {
                    let fits = buffer.len() <= MAX_PART_HEADERS;
                    return if fits { Ok(None) } else { Err("the headers of a part are too long".into()) };
                };
                let (headers, rest) = buffer.split_at(end);
                on_event(begin(headers)?)?;
                self.state = State::Content;
                Ok(rest.get(4..))
            }
            State::Epilogue => Ok(if buffer.is_empty() { None } else { Some(&[]) }),
        }
    }

    fn content<'a>(
        &mut self,
        buffer: &'a [u8],
        on_event: &mut dyn FnMut(PartEvent<'_>) -> Result<(), String>,
    ) -> Result<Option<&'a [u8]>, String> {
        let in_part = self.state == State::Content;
        let found = find(buffer, &self.delimiter);
        // What may be the beginning of a delimiter waits for more.
        let sure = found.unwrap_or_else(|| (buffer.len() + 1).saturating_sub(self.delimiter.len()));
        let (data, rest) = buffer.split_at(sure);
        if in_part && !data.is_empty() {
            on_event(PartEvent::Data(data))?;
        }
        if found.is_none() {
            return Ok(if data.is_empty() { None } else { Some(rest) });
        }
        if in_part {
            on_event(PartEvent::End)?;
        }
        self.state = State::Delimiter;
        Ok(rest.get(self.delimiter.len()..))
    }
}

/// Where `needle` begins. Delimiters begin with a carriage return, which is rare in audio.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack.get(from..)?.iter().position(|&byte| byte == first) {
        let rest = haystack.get(from + at..)?;
        if rest.starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn begin(headers: &[u8]) -> Result<PartEvent<'static>, String> {
    let headers = String::from_utf8_lossy(headers);
    let disposition = headers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value.trim())
        .ok_or("a part has no Content-Disposition")?;
    let name = quoted(disposition, "name").ok_or("a part has no name")?;
    Ok(PartEvent::Begin { name, file_name: quoted(disposition, "filename") })
}

/// The value of a quoted parameter, with `%22`, `%0D` and `%0A` put back as browsers write them.
fn quoted(disposition: &str, name: &str) -> Option<String> {
    let parameter = disposition.split(';').map(str::trim).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let value = parameter.trim_matches('"');
    Some(value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = b"--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\nRIFF\r\n--b\r\n--b00\r\n--b0--\r\nbehind";

    type Part = (String, Option<String>, Vec<u8>);

    fn read(body: &[u8], piece: usize) -> Result<Vec<Part>, String> {
        let mut reader = MultipartReader::new("multipart/form-data; boundary=b0")?;
        let mut parts: Vec<Part> = Vec::new();
        let mut open = 0;
        for piece in body.chunks(piece) {
            reader.push(piece, &mut |event| {
                match event {
                    PartEvent::Begin { name, file_name } => {
                        parts.push((name, file_name, Vec::new()));
                        open += 1;
                    }
                    PartEvent::Data(data) => parts.last_mut().unwrap().2.extend_from_slice(data),
                    PartEvent::End => open -= 1,
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        assert_eq!(open, 0);
        Ok(parts)
    }

    #[test]
    fn a_part_may_hold_what_looks_like_half_a_delimiter() {
        let body = BODY.strip_suffix(b"behind").unwrap();
        let cut = find(body, b"\r\n--b00").unwrap();
        let body = [&body[..cut], &body[cut + 7..]].concat();
        for piece in 1..body.len() {
            let parts = read(&body, piece).unwrap();
            assert_eq!(parts[0], ("model".into(), None, b"whisper-1".to_vec()));
            assert_eq!(parts[1], ("file".into(), Some("a\"b.wav".into()), b"RIFF\r\n--b".to_vec()));
        }
    }

    #[test]
    fn a_delimiter_with_something_behind_it_is_an_error() {
        assert!(read(BODY, 10).unwrap_err().contains("neither a part nor the end"));
    }

    #[test]
    fn a_body_that_is_cut_is_an_error() {
        for end in 0..60 {
            assert!(read(&BODY[..end], 10).is_err());
        }
    }

    #[test]
    fn a_content_type_without_a_boundary_is_refused() {
        for content_type in
            ["application/json", "multipart/form-data", "multipart/form-data; boundary=\"\"", ""]
        {
            assert!(MultipartReader::new(content_type).is_err(), "{content_type}");
        }
    }

    proptest! {
        #[test]
        fn any_content_comes_back_in_pieces_of_any_size(
            content in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), any::<u8>()], 0..200),
            piece in 1_usize..40,
        ) {
            prop_assume!(find(&content, b"\r\n--b0").is_none());
            let mut body = b"--b0\r\ncontent-disposition: form-data; name=file\r\n\r\n".to_vec();
            body.extend_from_slice(&content);
            body.extend_from_slice(b"\r\n--b0--\r\n");
            prop_assert_eq!(read(&body, piece).unwrap(), vec![("file".into(), None, content)]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
            let _unused = read(&bytes, piece);
            let _unused = read(&[b"--b0\r\n".as_slice(), &bytes].concat(), piece);
        }
    }
}
