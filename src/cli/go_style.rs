//! Command lines as Go's pflag takes them, rewritten into what clap takes: the missing word `build`, and switches with a
//! value (`--push=false`).

use std::ffi::{OsStr, OsString};

/// The same words with the command spelled out, and switches of `build` without values.
pub(crate) fn normalized(mut words: Vec<OsString>, grammar: &clap::Command) -> Vec<OsString> {
    let Some(first) = first_own_word(&words) else {
        return words;
    };
    let is_command = |word: &OsStr| grammar.get_subcommands().any(|command| word == command.get_name());
    if !is_command(&words[first]) {
        if is_about_rbuild_itself(&words[first]) {
            return words;
        }
        words.insert(first, OsString::from("build"));
    }
    match grammar
        .get_subcommands()
        .find(|command| words[first] == command.get_name())
    {
        Some(build) if build.get_name() == "build" => {
            let rest = words.split_off(first + 1);
            words.extend(without_switch_values(rest, build));
            words
        }
        _ => words,
    }
}

/// Flags with a value that stand before commands too.
const GLOBAL: [&str; 3] = ["--root", "--trace", "--ca-file"];

/// The place of the first word that is no global flag.
fn first_own_word(words: &[OsString]) -> Option<usize> {
    let mut place = 1;
    while let Some(word) = words.get(place) {
        let text = word.to_string_lossy();
        let has_value = |flag: &str| text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
        if GLOBAL.iter().any(|flag| word == *flag) {
            place += 2;
        } else if GLOBAL.iter().any(|flag| has_value(flag)) {
            place += 1;
        } else {
            return Some(place);
        }
    }
    None
}

fn is_about_rbuild_itself(word: &OsStr) -> bool {
    ["-h", "--help", "-V", "--version"].iter().any(|flag| word == *flag)
}

/// `--push=true` becomes `--push`; `--push=false` vanishes, and with it every `--push` before: the last one counts.
fn without_switch_values(words: Vec<OsString>, build: &clap::Command) -> Vec<OsString> {
    let mut kept: Vec<OsString> = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    for word in words.by_ref() {
        if word == "--" {
            kept.push(word);
            break;
        }
        match switch_with_value(&word, build) {
            Some((switch, true)) => kept.push(switch),
            Some((switch, false)) => kept.retain(|earlier| *earlier != switch),
            None => kept.push(word),
        }
    }
    kept.extend(words);
    kept
}

/// `--push=false` as `--push` and its value; `None` for all else, also for values that are none.
fn switch_with_value(word: &OsStr, build: &clap::Command) -> Option<(OsString, bool)> {
    let (flag, value) = word.to_str()?.split_once('=')?;
    let name = flag.strip_prefix("--").or_else(|| flag.strip_prefix('-'))?;
    let argument = build.get_arguments().find(|argument| {
        argument.get_long() == Some(name) || argument.get_short().is_some_and(|short| name == short.to_string())
    })?;
    let long = argument.get_long()?;
    let is_switch = !argument.get_action().takes_values();
    let value = boolean(value)?;
    is_switch.then(|| (OsString::from(format!("--{long}")), value))
}

/// The spellings of Go's `ParseBool`.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
