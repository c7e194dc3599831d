//! HEALTHCHECK: `NONE`, or flags and a command.

use oci::Healthcheck;

use crate::parse::{Flags, Form, Instruction, Kind};
use crate::quote::quote;
use crate::{Diagnostic, duration};

const MILLISECOND: i64 = 1_000_000;

/// Reads the instruction.
pub(super) fn read(instruction: &Instruction) -> Result<Healthcheck, Diagnostic> {
    let Some((kind, command)) = instruction.arguments.split_first() else {
        return Err(Diagnostic::new("HEALTHCHECK requires at least one argument"));
    };
    let kind = kind.to_ascii_uppercase();
    if kind == "NONE" {
        if !command.is_empty() {
            return Err(Diagnostic::new("HEALTHCHECK NONE takes no arguments"));
        }
        return Ok(Healthcheck {
            test: vec![kind],
            ..Healthcheck::default()
        });
    }
    let names = ["interval", "timeout", "start-period", "start-interval", "retries"];
    let flags = Flags::read(&instruction.flags, &names.map(|name| (name, Kind::Value)))?;
    if kind != "CMD" {
        let kind = quote(&kind);
        return Err(Diagnostic::new(format!("Unknown type {kind} in HEALTHCHECK (try CMD)")));
    }
    if command.is_empty() {
        return Err(Diagnostic::new("Missing command after HEALTHCHECK CMD"));
    }
    let mut test = match instruction.form {
        Form::Json => vec!["CMD".to_owned()],
        Form::Text => vec!["CMD-SHELL".to_owned()],
    };
    test.extend_from_slice(command);
    Ok(Healthcheck {
        test,
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

/// Nanoseconds: none, or a millisecond and more.
fn interval(flags: &Flags, name: &str) -> Result<i64, Diagnostic> {
    let Some(text) = flags.value(name).filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    match duration::parse(text).map_err(Diagnostic::new)? {
        0 => Ok(0),
        short if short < MILLISECOND => {
            let name = quote(name);
            Err(Diagnostic::new(format!("Interval {name} cannot be less than 1ms")))
        }
        long => Ok(long),
    }
}

fn retries(flags: &Flags) -> Result<i64, Diagnostic> {
    let Some(text) = flags.value("retries").filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    let retries: i32 = text
        .parse()
        .map_err(|error| Diagnostic::new(format!("--retries is not a number: {}: {error}", quote(text))))?;
    if retries < 0 {
        return Err(Diagnostic::new(format!("--retries cannot be negative ({retries})")));
    }
    Ok(retries.into())
}
