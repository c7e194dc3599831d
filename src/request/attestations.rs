//! Attestations: what is said about an image besides the image. rbuild makes none yet, so they can only be switched off.

use std::collections::BTreeMap;

use crate::cli::{self, OutputArgs};
use crate::error::CommandError;

/// Refuses what asks for an attestation, and what cannot be understood.
pub(super) fn refuse(typed: &OutputArgs) -> Result<(), CommandError> {
    for (flag, value) in [("provenance", &typed.provenance), ("sbom", &typed.sbom)] {
        if let Some(value) = value {
            refuse_shorthand(flag, value)?;
        }
    }
    typed.attest.iter().try_for_each(|text| refuse_attest(text))
}

/// The same for the build arguments that ask for one.
pub(super) fn refuse_arguments(build_args: &BTreeMap<String, String>) -> Result<(), CommandError> {
    for name in ["BUILDKIT_ATTEST_PROVENANCE", "BUILDKIT_ATTEST_SBOM"] {
        match build_args.get(name) {
            Some(value) if cli::boolean(value) != Some(false) && !is_disabled(value) => {
                return Err(unsupported(&format!("--build-arg {name}={value}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `--provenance` and `--sbom` take a truth value or attributes.
fn refuse_shorthand(flag: &str, value: &str) -> Result<(), CommandError> {
    match cli::boolean(value) {
        Some(false) => Ok(()),
        None if value.is_empty() => Ok(()),
        None if !value.contains('=') => Err(CommandError::usage(format!(
            "failed to build: --{flag}: invalid value {value}"
        ))),
        None if is_disabled(value) => Ok(()),
        _ => Err(unsupported(&format!("--{flag}={value}"))),
    }
}

/// `--attest type=sbom|provenance,…`.
fn refuse_attest(text: &str) -> Result<(), CommandError> {
    let wrong = |why: String| Err(CommandError::usage(format!("failed to build: --attest {text}: {why}")));
    let mut kind = None;
    for field in text.split(',') {
        match field.split_once('=') {
            Some((key, value)) if key.trim().eq_ignore_ascii_case("type") => kind = Some(value.trim()),
            Some(_) => {}
            None => return wrong(format!("invalid value {field}")),
        }
    }
    match kind {
        None => wrong("attestation type not specified".to_owned()),
        Some("sbom" | "provenance") if is_disabled(text) => Ok(()),
        Some("sbom" | "provenance") => Err(unsupported(&format!("--attest {text}"))),
        Some(other) => wrong(format!("unknown attestation type {other:?}")),
    }
}

/// The last `disabled` counts.
fn is_disabled(fields: &str) -> bool {
    let disabled = |field: &str| {
        let (key, value) = field.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case("disabled")
            .then(|| cli::boolean(value))?
    };
    fields.split(',').filter_map(disabled).next_back().unwrap_or(false)
}

fn unsupported(what: &str) -> CommandError {
    CommandError::usage(format!("{what} is not supported yet"))
        .hint("images are made without attestations: leave the flag out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_can_be_switched_off_and_no_more() {
        for (text, complaint) in [
            ("type=sbom,disabled=true", None),
            ("type=provenance,disabled=true,mode=max", None),
            ("type=sbom", Some("--attest type=sbom is not supported yet")),
            ("type=sbom,disabled=false", Some("is not supported yet")),
            ("type=foo", Some("unknown attestation type \"foo\"")),
            ("mode=max", Some("attestation type not specified")),
            ("foo", Some("invalid value foo")),
        ] {
            let told = refuse_attest(text).err().map(|error| error.to_string());
            let is_told = |complaint| told.as_deref().is_some_and(|told| told.contains(complaint));
            assert!(complaint.map_or(told.is_none(), is_told), "{text}: {told:?}");
        }
        let argument = |value: &str| {
            let given = BTreeMap::from([("BUILDKIT_ATTEST_SBOM".to_owned(), value.to_owned())]);
            refuse_arguments(&given).is_err()
        };
        assert!(argument("true") && argument("generator=x") && argument(""));
        assert!(!argument("false") && !argument("disabled=true"));
        for (value, complaint) in [
            ("false", None),
            ("0", None),
            ("mode=max,disabled=true", None),
            ("true", Some("--sbom=true is not supported yet")),
            ("mode=max", Some("--sbom=mode=max is not supported yet")),
            ("maybe", Some("invalid value maybe")),
        ] {
            let told = refuse_shorthand("sbom", value).err().map(|error| error.to_string());
            let is_told = |complaint| told.as_deref().is_some_and(|told| told.contains(complaint));
            assert!(complaint.map_or(told.is_none(), is_told), "{value}: {told:?}");
        }
    }
}
