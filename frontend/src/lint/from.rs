//! FROM: the variables in it, and platforms.

use std::collections::BTreeSet;

use graph::SourceLines;
use oci::{Platform, Reference};

use super::{Linter, Rule, Spot};
use crate::Environment;
use crate::command::Command;
use crate::plan::Section;
use crate::quote::quote;
use crate::words::{Expander, Expansion};

/// Base images whose name is wrong while no argument is given; `defaults` are the values arguments then have.
pub(crate) fn default_names(sections: &[Section], expander: &Expander, defaults: &Environment, linter: &Linter) {
    for section in sections {
        let Command::From(from) = &section.from.command else {
            continue;
        };
        let Ok(name) = expander.text(&from.image, defaults) else {
            return;
        };
        if name.parse::<Reference>().is_err() {
            let image = &from.image;
            let detail = format!("Default value for ARG {image} results in empty or invalid base image name");
            linter.report(Rule::InvalidDefaultArgInFrom, &section.from.lines, detail);
        }
    }
}

/// Variables of a FROM that nothing declares; `known` are those that something does.
pub(crate) fn undeclared(unmatched: &BTreeSet<String>, known: &BTreeSet<String>, spot: &Spot) {
    for name in unmatched.iter().filter(|name| !known.contains(*name)) {
        let hint = match spot.nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!(" (did you mean {near}?)"),
            None => String::new(),
        };
        spot.report(
            Rule::UndefinedArgInFrom,
            format!("FROM argument '{name}' is not declared{hint}"),
        );
    }
}

/// `--platform=$TARGETPLATFORM`, which is what is taken anyway.
pub(crate) fn redundant_platform(written: &str, expansion: &Expansion, arguments: &Environment, spot: &Spot) {
    const TARGET: &str = "TARGETPLATFORM";
    let is_alone = expansion.matched.len() == 1 && expansion.unmatched.is_empty();
    if is_alone && expansion.matched.contains(TARGET) && arguments.get(TARGET).unwrap_or_default() == expansion.text {
        let detail =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        spot.report(Rule::RedundantTargetPlatform, detail);
    }
}

/// A platform without variables, unless the stage is named after it.
pub(crate) fn constant_platform(stage: &str, expansion: &Expansion, spot: &Spot) {
    if !expansion.matched.is_empty() || !expansion.unmatched.is_empty() || expansion.text == "local" {
        return;
    }
    let Ok(platform) = expansion.text.parse::<Platform>() else {
        return;
    };
    if stage.contains(&platform.os) || stage.contains(&platform.architecture) {
        return;
    }
    let platform = quote(&expansion.text);
    let detail = format!("FROM --platform flag should not use constant value {platform}");
    spot.report(Rule::FromPlatformFlagConstDisallowed, detail);
}

/// A base image that is for another platform than is built for.
pub(crate) fn image_platform(
    image: &str,
    expected: &Platform,
    actual: &Platform,
    lines: &SourceLines,
    linter: &Linter,
) {
    if expected.os == actual.os && expected.architecture == actual.architecture {
        return;
    }
    let (actual, expected) = (quote(&actual.to_string()), quote(&expected.to_string()));
    let detail = format!("Base image {image} was pulled with platform {actual}, expected {expected} for current build");
    linter.report(Rule::InvalidBaseImagePlatform, lines, detail);
}
