//! A line's words: the instruction's name, its flags, and the rest; quotes group, the escape character protects.

/// The blanks between words: not the end of a line, which has no meaning within an instruction.
pub(super) const BLANKS: [char; 5] = ['\t', '\x0b', '\x0c', '\r', ' '];

/// The parts of a line.
pub(super) struct CommandLine {
    pub(super) name: String,
    pub(super) flags: Vec<String>,
    pub(super) rest: String,
}

/// Takes a line apart.
pub(super) fn command(line: &str, escape: char) -> CommandLine {
    let line = line.trim();
    let (name, rest) = match line.split_once(BLANKS) {
        Some((name, rest)) => (name, rest.trim_start_matches(BLANKS)),
        None => (line, ""),
    };
    let (flags, rest) = flags(rest, escape);
    CommandLine {
        name: name.to_owned(),
        flags,
        rest: rest.trim().to_owned(),
    }
}

/// The leading words that start with `--`, without quotes and escapes, and what follows them. A word `--` ends them.
fn flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let (word, after) = flag(rest, escape);
        if word == "--" {
            return (flags, after);
        }
        if !word.is_empty() {
            flags.push(word);
        }
        rest = after.trim_start();
    }
    (flags, rest)
}

/// The first word, and what follows it.
fn flag(line: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut letters = line.char_indices();
    while let Some((position, letter)) = letters.next() {
        match quote {
            None if letter.is_whitespace() => return (word, &line[position..]),
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            Some(mark) if letter == mark => quote = None,
            _ if letter == escape => word.extend(letters.next().map(|(_, letter)| letter)),
            _ => word.push(letter),
        }
    }
    (word, "")
}

/// The words of ENV, LABEL and ARG, with their quotes and escapes; an escape at the very end is dropped.
pub(super) fn quoted(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match quote {
            None if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            Some(mark) if letter == mark => quote = None,
            _ => {}
        }
        if letter == escape && quote != Some('\'') {
            if let Some(protected) = letters.next() {
                word.extend([letter, protected]);
            }
        } else {
            word.push(letter);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
