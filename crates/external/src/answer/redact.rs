//! Texts of an API before they are shown or stored: keys blotted out, short, on one line.

/// The most bytes of an API's message that are kept: 1 KiB.
const LONGEST_BYTES: usize = 1024;

/// What keys begin with.
const PREFIXES: [&str; 5] = ["sk-", "sk_", "gsk_", "xai-", "key-"];

/// Makes a message of an API fit to be shown: one line, at most 1 KiB, and nothing in it that looks like a key.
pub(crate) fn message(text: &str) -> String {
    let mut shown = String::new();
    let mut after_scheme = false;
    for word in text.split_whitespace() {
        if shown.len() + word.len() + 1 > LONGEST_BYTES {
            shown.push_str(" …");
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        if after_scheme && word.len() >= 6 {
            shown.push_str("***");
        } else {
            shown.push_str(&blotted(word));
        }
        let scheme = word.trim_matches(|c: char| !c.is_alphanumeric());
        after_scheme = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    }
    shown.retain(|c| !c.is_control());
    shown
}

/// A word in which whatever begins like a key is replaced.
fn blotted(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let begins = PREFIXES.iter().filter_map(|prefix| lower.find(prefix)).min();
    match begins {
        // `task-1` is no key: it begins at the word's start or after something that is no letter.
        Some(at) if word.get(..at).is_some_and(|head| !head.ends_with(char::is_alphanumeric)) => {
            let (head, key) = word.split_at(at);
            let end =
                key.find(|c: char| !(c.is_ascii_alphanumeric() || "-_*.".contains(c))).unwrap_or(key.len());
            let (key, tail) = key.split_at(end);
            if key.len() < 8 { word.to_owned() } else { format!("{head}***{tail}") }
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_blotted_out() {
        for (text, shown) in [
            ("Incorrect API key provided: sk-abc123def456.", "Incorrect API key provided: ***"),
            ("key (gsk_aaaaaaaaaaaa) is bad", "key (***) is bad"),
            ("Authorization: Bearer abcdef123456 was refused", "Authorization: Bearer *** was refused"),
            ("Token 0123456789abcdef", "Token ***"),
            ("a task-oriented model", "a task-oriented model"),
        ] {
            assert_eq!(message(text), shown);
        }
    }

    #[test]
    fn a_message_is_one_short_line() {
        let shown = message(&format!("a\r\nb\t{}", "word ".repeat(1_000)));
        assert!(shown.starts_with("a b word"));
        assert!(shown.len() < LONGEST_BYTES + 8 && shown.ends_with('…'), "{}", shown.len());
        assert!(!message("x\u{1b}[31mred").contains('\u{1b}'));
    }
}
