//! What shows while a stage is converted: variables, secrets, ports, paths, instructions given twice.

use std::collections::BTreeSet;

use graph::SourceLines;
use graph::pattern::PatternList;

use super::{Rule, Spot};
use crate::quote::quote;
use crate::{Environment, path};

/// Arguments that say something to the builder and nothing to processes.
pub(crate) const UNSEEN: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Where the last CMD, ENTRYPOINT and HEALTHCHECK of a stage stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    pub(crate) command: Option<SourceLines>,
    pub(crate) entrypoint: Option<SourceLines>,
    pub(crate) healthcheck: Option<SourceLines>,
}

/// An instruction of which only the last counts: `before` is where the one before stands.
pub(crate) fn used_once(before: &mut Option<SourceLines>, spot: &Spot) {
    if let Some(earlier) = before.replace(spot.lines.clone()) {
        let keyword = &spot.keyword;
        let detail = format!(
            "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
        );
        spot.report_at(Rule::MultipleInstructionsDisallowed, &earlier, detail);
    }
}

/// Variables that are not set, and not declared without a value.
pub(crate) fn undefined(
    names: &BTreeSet<String>,
    declared: &[(String, Option<String>)],
    known: &Environment,
    spot: &Spot,
) {
    for name in names {
        let is_declared = declared.iter().any(|(declared, _)| declared == name);
        if is_declared || UNSEEN.contains(&name.as_str()) {
            continue;
        }
        let hint = match spot.nearest(name, known.iter().map(|(name, _)| name)) {
            Some(near) => format!(" (did you mean ${near}?)"),
            None => String::new(),
        };
        spot.report(
            Rule::UndefinedVar,
            format!("Usage of undefined variable '${name}'{hint}"),
        );
    }
}

/// ENV or LABEL with a blank for `=`.
pub(crate) fn legacy_pair(spot: &Spot) {
    let keyword = &spot.keyword;
    let detail = format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
    spot.report(Rule::LegacyKeyValueFormat, detail);
}

/// A name that looks like that of a secret.
pub(crate) fn secret(instruction: &str, name: &str, spot: &Spot) {
    if is_secret(name) {
        let detail = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
            quote(name)
        );
        spot.report(Rule::SecretsUsedInArgOrEnv, detail);
    }
}

/// Whether one of the words between the `_` of a name means a secret, and none that it is harmless.
fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let has = |words: &[&str]| {
        name.split('_')
            .any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&HARMLESS)
}

/// CMD or ENTRYPOINT in shell form, where no SHELL was chosen.
pub(crate) fn shell_form(shell: &[String], spot: &Spot) {
    if shell.is_empty() {
        let keyword = &spot.keyword;
        let detail =
            format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals");
        spot.report(Rule::JsonArgsRecommended, detail);
    }
}

/// A WORKDIR below whatever the base image says.
pub(crate) fn relative_workdir(written: &str, os: &str, spot: &Spot) {
    if !is_absolute(written, os) {
        let written = quote(written);
        let detail = format!("Relative workdir {written} can have unexpected results if the base image changes");
        spot.report(Rule::WorkdirRelativePath, detail);
    }
}

fn is_absolute(written: &str, os: &str) -> bool {
    if os != "windows" {
        return written.starts_with('/');
    }
    let bare = match written.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => &written[2..],
        _ => written,
    };
    bare.starts_with(['/', '\\'])
}

/// A port as EXPOSE has it, taken apart.
pub(crate) fn port(written: &str, protocol: &str, is_mapped: bool, spot: &Spot) {
    if protocol != protocol.to_lowercase() {
        let detail = format!("Defined protocol '{written}' in EXPOSE instruction should be lowercase");
        spot.report(Rule::ExposeProtoCasing, detail);
    }
    if is_mapped {
        let detail =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{written}'");
        spot.report(Rule::ExposeInvalidFormat, detail);
    }
}

/// What the ignore file leaves out, as far as that can be told without the files.
#[derive(Debug)]
pub(crate) struct Ignored {
    list: PatternList,
    /// Whether a pattern covers all there is.
    has_all: bool,
}

impl Ignored {
    /// Reads the patterns; with `!` among them nobody can tell before the files are there.
    pub(crate) fn new(patterns: &[String]) -> Option<Ignored> {
        let mut trimmed = patterns.iter().map(|pattern| pattern.trim());
        if trimmed.clone().any(|pattern| pattern.starts_with('!')) {
            return None;
        }
        let list = PatternList::new(patterns).ok().filter(|list| !list.is_empty())?;
        Some(Ignored {
            list,
            has_all: trimmed.any(|pattern| matches!(pattern, "*" | "**" | "**/*")),
        })
    }

    /// A source of COPY or ADD.
    pub(crate) fn check(&self, verb: &str, source: &str, spot: &Spot) {
        let source = path::clean(source);
        let is_root = source == "." || source == "/";
        if (!is_root || self.has_all) && self.list.matches(source.as_bytes()) {
            let source = quote(&source);
            let detail = format!("Attempting to {verb} file {source} that is excluded by .dockerignore");
            spot.report(Rule::CopyIgnoredFile, detail);
        }
    }
}
