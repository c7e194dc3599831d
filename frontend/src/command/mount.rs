//! `--mount` of RUN: a line of comma-separated values, `key=value` or a bare key.
//!
//! Variables may stand in values, so most of it can be checked only when they are known; but not in `from`.

use std::collections::BTreeMap;

use crate::quote::quote;
use crate::{Diagnostic, suggest};

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Checks what does not depend on variables.
pub(super) fn check_origin(text: &str) -> Result<(), Diagnostic> {
    for field in fields(text)? {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
            && value.find('$').is_some_and(|place| place + 1 != value.len())
        {
            return Err(Diagnostic::new(
                "'from' doesn't support variable expansion, define alias stage instead",
            ));
        }
    }
    Ok(())
}

/// Checks the rest; `expand` replaces variables.
pub(crate) fn check(text: &str, expand: impl Fn(&str) -> Result<String, Diagnostic>) -> Result<(), Diagnostic> {
    let mut kind = "bind".to_owned();
    let mut given = BTreeMap::new();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(expand(value)?)),
            None => (field.to_ascii_lowercase(), None),
        };
        if key == "type"
            && let Some(value) = &value
        {
            kind = one_of(
                "unsupported mount type",
                value,
                &["bind", "cache", "tmpfs", "secret", "ssh"],
            )?;
        }
        check_field(&kind, &field, &key, value.as_deref())?;
        given.insert(key, value.unwrap_or_default());
    }
    check_whole(&kind, &given)
}

fn check_field(kind: &str, field: &str, key: &str, value: Option<&str>) -> Result<(), Diagnostic> {
    let fits = match key {
        "required" => matches!(kind, "secret" | "ssh"),
        "size" => kind == "tmpfs",
        _ => true,
    };
    if !fits {
        let message = format!("unexpected key '{key}' for mount type '{kind}'");
        return Err(Diagnostic::new(message));
    }
    let switch = matches!(key, "readonly" | "ro" | "readwrite" | "rw" | "required");
    let Some(value) = value else {
        if switch {
            return Ok(());
        }
        let message = format!("invalid field '{field}' must be a key=value pair");
        return Err(Diagnostic::new(message));
    };
    let number = |radix| u32::from_str_radix(value, radix).is_ok() && !value.starts_with('+');
    match key {
        _ if switch && !is_bool(value) => Err(Diagnostic::new(format!("invalid value for {key}: {value}"))),
        "sharing" => one_of("unsupported sharing value", value, &["shared", "private", "locked"]).map(drop),
        "mode" if !number(8) => Err(Diagnostic::new(format!("invalid value {value} for mode"))),
        "uid" | "gid" if !number(10) => Err(Diagnostic::new(format!("invalid value {value} for {key}"))),
        _ if KEYS.contains(&key) => Ok(()),
        _ => {
            let message = format!("unexpected key '{key}' in '{field}'");
            Err(Diagnostic::new(suggest::wrap(message, key, KEYS)))
        }
    }
}

/// What does not go together.
fn check_whole(kind: &str, given: &BTreeMap<String, String>) -> Result<(), Diagnostic> {
    let has = |keys: &[&str]| {
        keys.iter()
            .any(|key| given.get(*key).is_some_and(|value| !value.is_empty()))
    };
    if matches!(kind, "bind" | "tmpfs") {
        for key in ["mode", "uid", "gid"] {
            if has(&[key]) {
                let kind = quote(kind);
                return Err(Diagnostic::new(format!("{key} not allowed for {kind} type mounts")));
            }
        }
    }
    let source = ["source", "src"];
    let refusal = match kind {
        "secret" if has(&["from"]) => "secret mount should not have a from",
        "secret" if has(&["sharing"]) => "secret mount should not define sharing",
        "secret" if !has(&["source", "src", "target", "dst", "destination", "id"]) => {
            "invalid secret mount. one of source, target required"
        }
        "secret" if has(&source) && has(&["id"]) => "both source and id can't be set",
        _ if kind != "cache" && has(&["sharing"]) => {
            return Err(Diagnostic::new(format!("invalid cache sharing set for {kind} mount")));
        }
        _ => return Ok(()),
    };
    Err(Diagnostic::new(refusal))
}

/// `value` in lower case if it is one of `options`.
fn one_of(message: &str, value: &str, options: &[&str]) -> Result<String, Diagnostic> {
    let lower = value.to_ascii_lowercase();
    if options.contains(&lower.as_str()) {
        return Ok(lower);
    }
    let message = format!("{message} {}", quote(value));
    Err(Diagnostic::new(suggest::wrap(message, value, options.iter().copied())))
}

fn is_bool(text: &str) -> bool {
    matches!(
        text,
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
    )
}

/// The values of one line of CSV: a value in double quotes may hold commas, and quotes doubled.
fn fields(text: &str) -> Result<Vec<String>, Diagnostic> {
    let broken = || {
        Diagnostic::new(format!(
            "failed to parse csv mounts: misplaced quote in {}",
            quote(text)
        ))
    };
    let mut fields = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        let mut field = String::new();
        let quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.next() {
                None if quoted => return Err(broken()),
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some('"') if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
                Some('"') if quoted => match letters.next() {
                    None => {
                        fields.push(field);
                        return Ok(fields);
                    }
                    Some(',') => break,
                    Some(_) => return Err(broken()),
                },
                Some('"') => return Err(broken()),
                Some(',') if !quoted => break,
                Some(letter) => field.push(letter),
            }
        }
        fields.push(field);
    }
}
