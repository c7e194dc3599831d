//! Ignore files: the fast matcher and a slow one, that tries everything, agree. The first line is the path to ask about.

use graph::pattern::PatternList;

/// How much the slow matcher may try before it gives up.
const PATIENCE: usize = 200_000;

/// Asks both.
pub fn run(text: &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (path, file) = (&text[..end], &text[(end + 1).min(text.len())..]);
    let Ok(patterns) = frontend::ignore::parse(file) else {
        return;
    };
    let Ok(list) = PatternList::new(&patterns) else { return };
    let fast = list.matches(path);
    let Ok(path) = str::from_utf8(path) else { return };
    // Blanks at a slash are cut when the list is read, and then the slash too: the slow matcher knows nothing of that.
    if patterns.iter().any(|pattern| pattern.contains(char::is_whitespace)) {
        return;
    }
    // A list is cleaned once more with its exclamation marks, to which such dots are a name that can be gone back from.
    if patterns.iter().any(|pattern| pattern.starts_with("!..")) {
        return;
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return;
    }
    if let Some(slow) = slow_list(&patterns, path) {
        assert_eq!(fast, slow, "{patterns:?} on {path:?}");
    }
}

/// The rule of whole lists: a line is asked only where it could change what those before it say, of the path and of each
/// folder above it, from the top.
fn slow_list(patterns: &[String], path: &str) -> Option<bool> {
    let mut tries = 0;
    let mut held = vec![false; patterns.len()];
    let mut decision = false;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let above: Vec<char> = path[..end].chars().collect();
        decision = false;
        for (pattern, held) in patterns.iter().zip(&mut held) {
            let (negated, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => (true, pattern),
                None => (false, pattern.as_str()),
            };
            if !*held && negated == decision {
                *held = slow(pattern, &above, &mut tries)?;
            }
            if *held {
                decision = !negated;
            }
        }
    }
    Some(decision)
}

/// One line on one path. `None`: it takes too long, or is no pattern after all.
fn slow(pattern: &str, path: &[char], tries: &mut usize) -> Option<bool> {
    let letters: Vec<char> = pattern.chars().collect();
    if let Some(end) = pattern.strip_prefix("**")
        && !end.starts_with('/')
        && !end.contains(['*', '?', '[', ']', '\\'])
    {
        return Some(path.iter().collect::<String>().ends_with(end));
    }
    attempt(&letters, path, tries)
}

fn attempt(pattern: &[char], path: &[char], tries: &mut usize) -> Option<bool> {
    *tries += 1;
    if *tries > PATIENCE {
        return None;
    }
    match pattern {
        [] => Some(path.is_empty()),
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/'][..]).unwrap_or(rest);
            if rest.is_empty() || attempt(rest, path, tries)? {
                return Some(true);
            }
            let slashes = path.iter().enumerate().filter(|(_, letter)| **letter == '/');
            any(slashes.map(|(at, _)| at + 1), |at| attempt(rest, &path[at..], tries))
        }
        ['*', rest @ ..] => {
            let name = path.iter().position(|letter| *letter == '/').unwrap_or(path.len());
            any(0..=name, |at| attempt(rest, &path[at..], tries))
        }
        ['?', rest @ ..] => one(path, |letter| letter != '/', rest, tries),
        ['\\', protected, rest @ ..] => one(path, |letter| letter == *protected, rest, tries),
        ['\\'] => None,
        ['[', rest @ ..] => {
            let (negated, ranges, rest) = class(rest)?;
            let inside = |letter| ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter));
            one(path, |letter| inside(letter) != negated, rest, tries)
        }
        [literal, rest @ ..] => one(path, |letter| letter == *literal, rest, tries),
    }
}

fn one(path: &[char], fits: impl Fn(char) -> bool, rest: &[char], tries: &mut usize) -> Option<bool> {
    match path {
        [first, path @ ..] if fits(*first) => attempt(rest, path, tries),
        _ => Some(false),
    }
}

fn any(places: impl Iterator<Item = usize>, mut fits: impl FnMut(usize) -> Option<bool>) -> Option<bool> {
    for place in places {
        if fits(place)? {
            return Some(true);
        }
    }
    Some(false)
}

type Class<'a> = (bool, Vec<(char, char)>, &'a [char]);

/// What follows `[`.
fn class(pattern: &[char]) -> Option<Class<'_>> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    loop {
        if let ([']', after @ ..], false) = (rest, ranges.is_empty()) {
            return Some((negated, ranges, after));
        }
        let low = end_of(&mut rest)?;
        let mut high = low;
        if let ['-', after @ ..] = rest {
            rest = after;
            high = end_of(&mut rest)?;
        }
        ranges.push((low, high));
    }
}

fn end_of(rest: &mut &[char]) -> Option<char> {
    let (letter, after) = match rest {
        ['-' | ']', ..] | [] | ['\\'] => return None,
        ['\\', letter, after @ ..] | [letter, after @ ..] => (*letter, after),
    };
    *rest = after;
    Some(letter)
}
