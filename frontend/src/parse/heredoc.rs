//! Heredocs: documents that follow an instruction, announced by `<<NAME`.

use super::line::Lines;
use crate::Environment;
use crate::words::{Escapes, Expander, Quotes, Unset};

/// A document in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that announces and ends it.
    pub name: String,
    /// The number before `<<`, for the shell.
    pub descriptor: u32,
    /// Whether variables in it are replaced: not if any part of the word was quoted.
    pub expand: bool,
    /// Whether leading tabs are cut: `<<-`.
    pub strip_tabs: bool,
    /// The lines, their ends included.
    pub content: String,
}

/// The documents that a line announces, not yet read.
pub(super) fn announced(line: &str) -> Vec<Heredoc> {
    let expander = Expander {
        quotes: Quotes::Kept,
        escapes: Escapes::Kept,
        unset: Unset::Kept,
        ..Expander::new('\\')
    };
    match expander.expand(line, &Environment::new()) {
        Ok(expansion) => expansion.words.iter().filter_map(|text| word(text)).collect(),
        // A line that the shell may understand but we do not announces nothing.
        Err(_) => Vec::new(),
    }
}

/// The document that a single word announces, if it does.
pub(crate) fn word(text: &str) -> Option<Heredoc> {
    let (descriptor, rest) = text.split_once("<<")?;
    if !descriptor.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let unquoted = Expander {
        unset: Unset::Kept,
        ..Expander::new('\\')
    };
    let quoted = Expander {
        quotes: Quotes::Kept,
        ..unquoted.clone()
    };
    let environment = Environment::new();
    let [name] = <[String; 1]>::try_from(unquoted.expand(rest, &environment).ok()?.words).ok()?;
    let raw = quoted.expand(rest, &environment).ok()?.words;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Heredoc {
        expand: raw.iter().map(|word| quotes(word)).sum::<usize>() == quotes(&name),
        name,
        descriptor: descriptor.parse().unwrap_or(0),
        strip_tabs,
        content: String::new(),
    })
}

impl Heredoc {
    /// Reads the contents up to the end; `false` if that never comes.
    pub(super) fn read(&mut self, lines: &mut Lines<'_>) -> bool {
        while let Some(line) = lines.next() {
            let bare = line.trim_end_matches(['\r', '\n']);
            let bare = if self.strip_tabs {
                bare.trim_start_matches('\t')
            } else {
                bare
            };
            if bare == self.name {
                return true;
            }
            self.content.push_str(line);
        }
        false
    }
}

/// The text without the tabs at the start of each line.
pub(crate) fn strip_tabs(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}
