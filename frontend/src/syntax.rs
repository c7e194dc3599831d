//! Which frontend a file asks for: the first thing BuildKit looks at, before it is known to be a Dockerfile.
//!
//! The one of `docker/dockerfile` is built in. Others are images to run, which is not done here; whatever asks for one is
//! refused by name, also where a named context would take the place of the built-in one.

use graph::SourceLines;
use oci::Reference;
use serde_json::{Map, Value};

use crate::{Diagnostic, Options, parse};

/// The argument that counts more than what the file says.
const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// The name by which the argument or the file can ask for what is built in.
const BUILT_IN: &str = "dockerfile.v0";

/// Refuses `text` if it, or the argument `BUILDKIT_SYNTAX`, asks for another frontend than the built-in one.
pub(crate) fn refuse_foreign(text: &[u8], options: &Options) -> Result<(), Diagnostic> {
    let (value, lines) = match (options.build_args.get(ARGUMENT), asked(text)) {
        (Some(value), _) => (value.trim().to_owned(), None),
        (None, Some((value, line))) => (value, Some(SourceLines(line..line + 1))),
        (None, None) => return Ok(()),
    };
    let image = value.split(' ').next().unwrap_or_default();
    judge(image, lines.as_ref(), options).map_err(|refusal| match &lines {
        Some(lines) => refusal.at(lines),
        None => refusal,
    })
}

fn judge(image: &str, lines: Option<&SourceLines>, options: &Options) -> Result<(), Diagnostic> {
    let reference = image.parse::<Reference>().map_err(|_| {
        // BuildKit looks for a named context first.
        Diagnostic::new(format!("invalid context name {image}: invalid reference format"))
    })?;
    let place = match lines {
        Some(lines) => format!("Dockerfile line {}", lines.0.start),
        None => format!("build argument {ARGUMENT}"),
    };
    if options.context(image, options.target_platform()).is_some() {
        let message = format!("a named context in place of the syntax `{image}` is not supported yet ({place})");
        return Err(Diagnostic::new(message));
    }
    let own = ["docker/dockerfile", "docker/dockerfile-upstream"];
    if image == BUILT_IN || (reference.host() == "docker.io" && own.contains(&reference.repository())) {
        return Ok(());
    }
    let refusal = Diagnostic::new(format!("the syntax `{image}` is not supported yet ({place})"));
    Err(refusal.hint("the language of docker/dockerfile is built in; drop the syntax or name that one"))
}

/// What the file asks for, and on which line: with a directive, a directive written `// syntax=…`, or a JSON object that has
/// it under `syntax`.
fn asked(text: &[u8]) -> Option<(String, usize)> {
    for mark in ["#", "//"] {
        let found = parse::directives(text, mark)
            .into_iter()
            .find(|directive| directive.name == "syntax");
        if let Some(directive) = found {
            return Some((directive.value, directive.line));
        }
    }
    let (rest, line) = parse::without_shebang(text);
    let object: Map<String, Value> = serde_json::from_slice(rest).ok()?;
    let value = object.get("syntax")?.as_str()?;
    Some((value.to_owned(), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_asks_for_is_seen_in_three_forms() {
        for (text, found) in [
            ("# syntax = a:1 // b\nFROM c", Some(("a:1 // b", 1))),
            ("\u{feff}#SYNTAX=a\r\nFROM c", Some(("a", 1))),
            ("#!/bin/sh\n# syntax=a", Some(("a", 2))),
            ("#!/bin/sh\n\n# syntax=a", None),
            ("# check=skip=all\n# escape=x\n# syntax=a", Some(("a", 3))),
            ("# other=1\n# syntax=a", None),
            ("# check=a\n# check=b\n# syntax=a", None),
            ("# syntax=", None),
            ("# syntax = ", Some((" ", 1))),
            ("//syntax=a\n//key=b", Some(("a", 1))),
            ("#!/bin/sh\n// syntax=a b", Some(("a b", 2))),
            ("# check=a\n// syntax=a", None),
            (r#"{"syntax": "a", "b": ["c"]}"#, Some(("a", 1))),
            ("#!x\n{\n\"syntax\": \"a\"\n}\n", Some(("a", 2))),
            (r#"{"syntax": 1}"#, None),
            (r#"{"syntax": "a""#, None),
            ("{\"syntax\": \"a\"}\n# syntax=b", None),
            ("FROM c\n# syntax=a", None),
        ] {
            let found = found.map(|(value, line): (&str, usize)| (value.to_owned(), line));
            assert_eq!(asked(text.as_bytes()), found, "{text}");
        }
    }
}
