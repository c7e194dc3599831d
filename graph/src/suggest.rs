//! "Did you mean": the option nearest to what was typed.

/// The option that differs from `given` in less than three letters and least of all; none if `given` is one itself.
#[must_use]
pub fn nearest<'a>(given: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    let mut least = 3;
    for option in options {
        if option == given {
            return None;
        }
        // Every letter more or less is one to insert or delete.
        if given.len().abs_diff(option.len()) >= 4 * least {
            continue;
        }
        let distance = distance(given, option);
        if distance < least {
            (best, least) = (Some(option), distance);
        }
    }
    best
}

/// `message`, and the option nearest to `given` if there is one.
#[must_use]
pub fn wrap<'a>(message: String, given: &str, options: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(given, options) {
        Some(option) => format!("{message} (did you mean {option}?)"),
        None => message,
    }
}

/// Letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_are_near_three_are_not() {
        assert_eq!(nearest("CPOY", ["ADD", "COPY"]), Some("COPY"));
        assert_eq!(nearest("bulid", ["build"]), Some("build"));
        assert_eq!(nearest("xyz", ["build"]), None);
        assert_eq!(nearest("build", ["built", "build"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
