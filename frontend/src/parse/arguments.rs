//! How each instruction cuts its arguments.

use super::json::{self, Element};
use super::words::{self, BLANKS};
use super::{Form, Instruction};
use crate::Diagnostic;
use crate::quote::quote;

/// Arguments, cut.
pub(super) struct Arguments {
    pub(super) list: Vec<String>,
    pub(super) form: Form,
    pub(super) trigger: Option<Box<Instruction>>,
}

impl Arguments {
    fn text(list: Vec<String>) -> Arguments {
        Arguments {
            list,
            form: Form::Text,
            trigger: None,
        }
    }
}

/// The arguments of the instruction `name`, of which `rest` is the text after the flags.
pub(super) fn of(name: &str, rest: &str, escape: char) -> Result<Arguments, Diagnostic> {
    match name.to_ascii_lowercase().as_str() {
        "run" | "cmd" | "entrypoint" | "shell" => json_or(rest, whole),
        "add" | "copy" | "volume" => json_or(rest, blank_separated),
        "from" | "expose" => Ok(Arguments::text(blank_separated(rest))),
        "env" => pairs("ENV", rest, escape),
        "label" => pairs("LABEL", rest, escape),
        "arg" => Ok(Arguments::text(words::quoted(rest, escape))),
        "maintainer" | "stopsignal" | "user" | "workdir" => Ok(Arguments::text(whole(rest))),
        "healthcheck" => healthcheck(rest),
        "onbuild" => onbuild(rest, escape),
        // Said to be unknown later, when it is asked what it means.
        _ => Ok(Arguments::text(vec![String::new()])),
    }
}

fn whole(rest: &str) -> Vec<String> {
    if rest.is_empty() {
        Vec::new()
    } else {
        vec![rest.to_owned()]
    }
}

fn blank_separated(rest: &str) -> Vec<String> {
    rest.split(BLANKS)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A JSON list of strings; what is no valid JSON is text.
fn json_or(rest: &str, text: impl FnOnce(&str) -> Vec<String>) -> Result<Arguments, Diagnostic> {
    let Some(list) = json::list(rest.trim_start()) else {
        return Ok(Arguments::text(text(rest)));
    };
    let strings = list.into_iter().map(|element| match element {
        Element::Text(text) => Ok(text),
        Element::Other => Err(Diagnostic::new(
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    });
    Ok(Arguments {
        list: strings.collect::<Result<_, _>>()?,
        form: Form::Json,
        trigger: None,
    })
}

/// `name=value …`, or the old form `name value` when the first word has no `=`.
fn pairs(instruction: &str, rest: &str, escape: char) -> Result<Arguments, Diagnostic> {
    let words = words::quoted(rest, escape);
    let Some(first) = words.first() else {
        return Ok(Arguments::text(Vec::new()));
    };
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(BLANKS)
            .ok_or_else(|| Diagnostic::new(format!("{instruction} must have two arguments")))?;
        let value = value.trim_start_matches(BLANKS);
        return Ok(Arguments::text(vec![name.to_owned(), value.to_owned(), String::new()]));
    }
    let mut list = Vec::new();
    for word in &words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            let word = quote(word);
            Diagnostic::new(format!(
                "Syntax error - can't find = in {word}. Must be of the form: name=value"
            ))
        })?;
        list.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(Arguments::text(list))
}

/// A kind, then JSON or text.
fn healthcheck(rest: &str) -> Result<Arguments, Diagnostic> {
    if rest.is_empty() {
        return Ok(Arguments::text(Vec::new()));
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let mut arguments = json_or(command.trim_start(), whole)?;
    arguments.list.insert(0, kind.to_owned());
    Ok(arguments)
}

/// An instruction in an instruction. Its arguments count as those of ONBUILD.
fn onbuild(rest: &str, escape: char) -> Result<Arguments, Diagnostic> {
    if rest.is_empty() {
        return Ok(Arguments::text(Vec::new()));
    }
    // A chain is refused by name later; it must not be followed to its end here.
    let chained = words::command(rest, escape).name.eq_ignore_ascii_case("onbuild");
    let trigger = if chained {
        Instruction {
            name: "ONBUILD".to_owned(),
            flags: Vec::new(),
            arguments: Vec::new(),
            form: Form::Text,
            trigger: None,
            heredocs: Vec::new(),
            original: rest.to_owned(),
            lines: graph::SourceLines(0..0),
            comments: Vec::new(),
        }
    } else {
        Instruction::new(rest, escape)?
    };
    Ok(Arguments {
        list: Vec::new(),
        form: Form::Text,
        trigger: Some(Box::new(trigger)),
    })
}
