//! The comma-separated fields of flag values, by the rules of RFC 4180 that Docker's flags follow, and the nearest word
//! to a misspelt one. One record only: line breaks mean nothing here.

/// Splits `text` into fields. A field in double quotes may hold commas, and quotes written twice.
///
/// # Errors
/// If a quote stands where none may.
pub fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted)?,
            None => take_plain(rest)?,
        };
        fields.push(field);
        match after {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

/// The field up to the next comma, and what follows that comma.
fn take_plain(rest: &str) -> Result<(String, Option<&str>), &'static str> {
    let (field, after) = match rest.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (rest, None),
    };
    if field.contains('"') {
        return Err("a quote may only stand around a whole field, as in `\"name=a,b\"`");
    }
    Ok((field.to_owned(), after))
}

fn take_quoted(mut rest: &str) -> Result<(String, Option<&str>), &'static str> {
    let mut field = String::new();
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quote is not closed")?;
        field.push_str(part);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
        } else if after.is_empty() {
            return Ok((field, None));
        } else {
            let after = after
                .strip_prefix(',')
                .ok_or("a comma must follow the closing quote of a field")?;
            return Ok((field, Some(after)));
        }
    }
}

/// The candidate that differs from `word` by the fewest edits, if it is near enough to be what was meant.
pub(crate) fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .iter()
        .map(|candidate| (edits(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance, a row at a time.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_within_quotes_separates_nothing() {
        for (text, fields) in [
            ("a", vec!["a"]),
            ("", vec![""]),
            ("a,b=c,", vec!["a", "b=c", ""]),
            (
                r#"type=image,"name=a,b",push=true"#,
                vec!["type=image", "name=a,b", "push=true"],
            ),
            (r#""say ""hi""""#, vec![r#"say "hi""#]),
        ] {
            assert_eq!(split(text).unwrap(), fields, "{text}");
        }
        for text in [r#"a"b"#, r#""a"#, r#""a"b"#, r#"name="a,b""#] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["dest", "push", "compression"];
        assert_eq!(nearest("dst", &words), Some("dest"));
        assert_eq!(nearest("compresion", &words), Some("compression"));
        assert_eq!(nearest("frobnicate", &words), None);
    }
}
