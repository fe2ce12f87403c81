//! Which words of a list stand where in a text. The text decides: each of its characters is given out once.

use crate::HeardWord;
use crate::model::aligned_part::is_unspaced;

/// How many letters a word may be ahead of where it was expected.
const WINDOW: usize = 80;
/// A word of one or two letters is found anywhere: it must be nearer.
const NEAR: usize = 12;
/// How many words are tried to tell a word that is not in the text from text that is in no word.
const LOOK_AHEAD: usize = 3;

/// A piece of the text, and the word that was said there, by its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// As it stands in the text, with one space before it if there is white space.
    pub(super) spaced: String,
    pub(super) word: Option<usize>,
}

/// A letter or digit of the text: folded, and where it stands.
#[derive(Clone, Copy)]
struct Letter {
    folded: char,
    start: usize,
    end: usize,
}

/// Letters from `from` up to `until` belong together, and to a word of the list if one is known.
struct Run {
    from: usize,
    until: usize,
    word: Option<usize>,
}

/// Gives each piece of `text` its word. Joined, the pieces are the text, but for white space at its ends and for runs
/// of white space before pieces, which become one space.
pub(super) fn pieces(text: &str, words: &[HeardWord]) -> Vec<Piece> {
    let letters: Vec<Letter> = text
        .char_indices()
        .filter(|(_, c)| c.is_alphanumeric())
        .map(|(start, c)| Letter { folded: fold(c), start, end: start + c.len_utf8() })
        .collect();
    if letters.is_empty() {
        let spaced = text.trim().to_owned();
        let word = (!words.is_empty()).then_some(0);
        return if spaced.is_empty() { Vec::new() } else { vec![Piece { spaced, word }] };
    }
    cut(text, &letters, &runs(text, &letters, words))
}

/// The first character of the lower-case form: enough to compare by.
fn fold(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// The letters and digits of a word, folded.
pub(super) fn key(word: &str) -> Vec<char> {
    word.chars().filter(|c| c.is_alphanumeric()).map(fold).collect()
}

fn runs(text: &str, letters: &[Letter], words: &[HeardWord]) -> Vec<Run> {
    let keys: Vec<Vec<char>> = words.iter().map(|word| key(&word.text)).collect();
    let mut runs = Vec::new();
    let mut at = 0;
    let mut unplaced = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        if key.is_empty() {
            continue;
        }
        match place(letters, at, key, keys.get(number + 1..).unwrap_or_default()) {
            Some(found) => {
                share_out(text, letters, at..found, &mut unplaced, &mut runs);
                runs.push(Run { from: found, until: found + key.len(), word: Some(number) });
                at = found + key.len();
            }
            None => unplaced.push(number),
        }
    }
    share_out(text, letters, at..letters.len(), &mut unplaced, &mut runs);
    runs
}

/// Where the word begins, if it is in the text: not so far ahead that one of the next words comes first, unless the
/// next word follows it there.
fn place(letters: &[Letter], at: usize, key: &[char], next: &[Vec<char>]) -> Option<usize> {
    let found = find(letters, at, key)?;
    let mut next = next.iter().filter(|key| !key.is_empty()).take(LOOK_AHEAD);
    let followed = next.clone().next().is_some_and(|next| is_at(letters, found + key.len(), next));
    let sooner = |other: &Vec<char>| find(letters, at, other).is_some_and(|other| other < found);
    (found == at || followed || !next.any(sooner)).then_some(found)
}

fn find(letters: &[Letter], at: usize, key: &[char]) -> Option<usize> {
    let reach = if key.len() < 3 { NEAR } else { WINDOW };
    (at..=at + reach).find(|from| is_at(letters, *from, key))
}

fn is_at(letters: &[Letter], at: usize, key: &[char]) -> bool {
    letters
        .get(at..at + key.len())
        .is_some_and(|there| there.iter().zip(key).all(|(letter, key)| letter.folded == *key))
}

/// Letters that no word was found for: token by token, given to the words that were found nowhere.
fn share_out(
    text: &str,
    letters: &[Letter],
    range: std::ops::Range<usize>,
    unplaced: &mut Vec<usize>,
    runs: &mut Vec<Run>,
) {
    let mut words = unplaced.drain(..);
    let mut from = range.start;
    for until in range.clone().skip(1).chain([range.end]) {
        let ends = until == range.end || starts_token(text, letters, until);
        if ends && until > from {
            runs.push(Run { from, until, word: words.next() });
            from = until;
        }
    }
}

/// Whether a new token starts with this letter: behind white space, or in a script without it.
fn starts_token(text: &str, letters: &[Letter], at: usize) -> bool {
    let (Some(last), Some(this)) = (at.checked_sub(1).and_then(|last| letters.get(last)), letters.get(at))
    else {
        return true;
    };
    let between = text.get(last.end..this.start).unwrap_or_default();
    between.contains(char::is_whitespace) || is_unspaced(this.folded) || is_unspaced(last.folded)
}

/// Cuts the text between the runs: at the last white space, else all of it goes to the run before.
fn cut(text: &str, letters: &[Letter], runs: &[Run]) -> Vec<Piece> {
    let bounds: Vec<usize> = runs
        .windows(2)
        .map(|pair| {
            let [before, after] = pair else { return text.len() };
            let last = letters.get(before.until - 1).map_or(0, |letter| letter.end);
            let next = letters.get(after.from).map_or(text.len(), |letter| letter.start);
            let between = text.get(last..next).unwrap_or_default();
            let space = between.rfind(char::is_whitespace).map(|space| start_of_space(between, space));
            last + space.unwrap_or(between.len())
        })
        .collect();
    let starts = std::iter::once(0).chain(bounds.iter().copied());
    let ends = bounds.iter().copied().chain([text.len()]);
    let mut pieces = Vec::with_capacity(runs.len());
    for ((start, end), run) in starts.zip(ends).zip(runs) {
        let piece = text.get(start..end).unwrap_or_default();
        let word = piece.trim();
        let behind_space = piece.starts_with(char::is_whitespace) && !pieces.is_empty();
        let spaced = if behind_space { format!(" {word}") } else { word.to_owned() };
        pieces.push(Piece { spaced, word: run.word });
    }
    pieces
}

/// The first character of the run of white space that ends with the one at `space`.
fn start_of_space(text: &str, space: usize) -> usize {
    let before = text.get(..space).unwrap_or_default();
    before.trim_end_matches(char::is_whitespace).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(texts: &[&str]) -> Vec<HeardWord> {
        texts.iter().map(|text| HeardWord::untimed(*text)).collect()
    }

    fn matched(text: &str, list: &[&str]) -> Vec<(String, Option<usize>)> {
        pieces(text, &words(list)).into_iter().map(|piece| (piece.spaced, piece.word)).collect()
    }

    fn piece(spaced: &str, word: usize) -> (String, Option<usize>) {
        (spaced.to_owned(), Some(word))
    }

    #[test]
    fn words_without_punctuation_get_that_of_the_text() {
        assert_eq!(
            matched("\"Hello,\" she said - twice.", &["hello", "she", "said", "twice"]),
            [piece("\"Hello,\"", 0), piece(" she", 1), piece(" said -", 2), piece(" twice.", 3)]
        );
    }

    #[test]
    fn words_split_finer_than_the_text_keep_its_spacing() {
        assert_eq!(
            matched("I don't know", &["I", "don", "'t", "know"]),
            [piece("I", 0), piece(" don'", 1), piece("t", 2), piece(" know", 3)]
        );
    }

    #[test]
    fn a_number_that_the_text_spells_out_is_taken_for_it() {
        assert_eq!(
            matched("I have three apples", &["I", "have", "3", "apples"]),
            [piece("I", 0), piece(" have", 1), piece(" three", 2), piece(" apples", 3)]
        );
    }

    #[test]
    fn text_that_no_word_was_given_for_stays_and_a_word_that_is_nowhere_goes() {
        assert_eq!(
            matched("one two three four", &["one", "four", "five"]),
            [piece("one", 0), (" two".to_owned(), None), (" three".to_owned(), None), piece(" four", 1)]
        );
    }

    #[test]
    fn a_text_without_spaces_is_cut_by_character() {
        let pieces = matched("你好,世界", &[]);
        let texts: Vec<&str> = pieces.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["你", "好,", "世", "界"]);
    }

    proptest! {
        #[test]
        fn joined_pieces_are_the_text(text in "[ a-cA-C.,'0-2世界\n-]{0,40}", list in proptest::collection::vec("[ a-c0-2'.世]{0,3}", 0..12)) {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let pieces = pieces(&text, &words(&list));
            let joined: String = pieces.iter().map(|piece| piece.spaced.as_str()).collect();
            let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(plain(&joined), plain(&text));
            let used: Vec<usize> = pieces.iter().filter_map(|piece| piece.word).collect();
            prop_assert!(used.is_sorted_by(|a, b| a < b));
        }
    }
}
