//! The word error rate of a transcript: (substituted + left out + put in) ÷ words said, by edit distance.

/// The share of words that are wrong, over the words of `reference`; 0 if both are empty.
pub(crate) fn word_error_rate(reference: &str, heard: &str) -> f64 {
    let (reference, heard) = (normalised(reference), normalised(heard));
    if reference.is_empty() {
        return if heard.is_empty() { 0.0 } else { 1.0 };
    }
    edit_distance(&reference, &heard) as f64 / reference.len() as f64
}

/// Lower-case words without punctuation; a hyphen parts words, and titles are written out as they are spoken.
fn normalised(text: &str) -> Vec<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .map(|word| match word.to_lowercase().as_str() {
            "mr" => "mister".to_owned(),
            "mrs" => "missus".to_owned(),
            other => other.to_owned(),
        })
        .collect()
}

fn edit_distance(reference: &[String], heard: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (said, word) in reference.iter().enumerate() {
        let mut next = vec![said + 1];
        for ((other, diagonal), above) in heard.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(word != other)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_punctuation_and_titles_are_no_errors() {
        assert_eq!(word_error_rate("and mister john ill disposed", "And Mr. John: ill-disposed!"), 0.0);
    }

    #[test]
    fn each_kind_of_error_counts_once() {
        assert_eq!(word_error_rate("a b c d", "a x c d"), 0.25, "substituted");
        assert_eq!(word_error_rate("a b c d", "a c d"), 0.25, "left out");
        assert_eq!(word_error_rate("a b c d", "a b b c d"), 0.25, "put in");
        assert_eq!(word_error_rate("a b c d", ""), 1.0);
    }
}
