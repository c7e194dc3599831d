//! What progress calls a step: `[build 2/4] RUN make`, or `[linux/arm64 build 2/4] RUN make` of several platforms, or
//! `[linux/amd64->arm64 build 2/4] RUN make` where a stage of one platform works for another.

use graph::Metadata;
use oci::Platform;

use super::Scope;
use crate::Environment;
use crate::command::{Command, Placed};
use crate::stage::{Base, Stage};
use crate::words::Expander;

/// Counts the steps of a stage: its FROM unless that is another stage or nothing, RUN, COPY, ADD and WORKDIR.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    title: String,
    done: usize,
    total: usize,
    names_platform: bool,
    /// Whether the next step is a trigger of the stage's base.
    pub(super) at_trigger: bool,
}

impl Counter {
    /// A counter for `stage`; with `names_platform` each step says what it is for.
    pub(super) fn new(stage: &Stage, names_platform: bool) -> Counter {
        let counted = |placed: &&Placed| {
            // Of triggers BuildKit counts all.
            placed.is_trigger
                || matches!(
                    placed.command,
                    Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_)
                )
        };
        let from = match &stage.base {
            // What is only copied from has no steps at all.
            _ if stage.is_foreign => 0,
            Base::Stage(_) | Base::Scratch => 0,
            Base::Local { .. } | Base::Remote { .. } | Base::Image { .. } => 1,
        };
        Counter {
            title: stage.title.clone(),
            done: 0,
            total: from + stage.commands.iter().filter(counted).count(),
            names_platform,
            at_trigger: false,
        }
    }

    /// The next step's name. It runs on `platform`, and knows of the variables in `environment`.
    pub(super) fn name(&mut self, text: &str, platform: &Platform, environment: &Environment) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.done += 1;
        let (done, total) = (self.done, self.total);
        let width = total.to_string().len();
        let mut title = String::new();
        if self.names_platform {
            title = format!("{platform}{} ", arrow(platform, environment));
        }
        if !self.title.is_empty() {
            title = format!("{title}{} ", self.title);
        }
        let trigger = if self.at_trigger { "ONBUILD " } else { "" };
        format!("[{title}{done:width$}/{total}] {trigger}{text}")
    }
}

/// What a step that runs on `platform` works for, if that is another platform and its variables say so.
fn arrow(platform: &Platform, environment: &Environment) -> String {
    let Some(target) = target(platform, environment) else {
        return String::new();
    };
    if target.os != platform.os {
        format!("->{target}")
    } else if target.architecture == platform.architecture {
        String::new()
    } else {
        let variant = target.variant.map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("->{}{variant}", target.architecture)
    }
}

/// The platform that the arguments a stage has declared name.
fn target(platform: &Platform, environment: &Environment) -> Option<Platform> {
    if let Some(target) = environment.get("TARGETPLATFORM").and_then(|text| text.parse().ok()) {
        return Some(target);
    }
    let (os, architecture) = (environment.get("TARGETOS"), environment.get("TARGETARCH"));
    os.or(architecture)?;
    let or = |value: Option<&str>, own: &str| value.filter(|text| !text.is_empty()).unwrap_or(own).to_owned();
    Some(Platform::normalized(
        &or(os, &platform.os),
        &or(architecture, &platform.architecture),
        environment.get("TARGETVARIANT"),
    ))
}

impl Scope<'_, '_> {
    /// What people are told of a step whose instruction is `placed`; `components` are the instruction's own.
    pub(super) fn metadata(
        &mut self,
        placed: &Placed,
        expander: &Expander,
        components: Vec<(String, String)>,
    ) -> Metadata {
        let environment = self.state.environment.clone();
        Metadata {
            name: self.step_name(&placed.code, expander, &environment),
            lines: Some(placed.lines.clone()),
            ignore_cache: false,
            components,
        }
    }

    /// The next step's name: the instruction in upper case, its variables replaced.
    pub(super) fn step_name(&mut self, code: &str, expander: &Expander, environment: &Environment) -> String {
        let text = expander.text(code, environment).unwrap_or_else(|_| code.to_owned());
        let text = match text.split_once(' ') {
            Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
            None => text.to_uppercase(),
        };
        self.progress.name(&text, &self.state.platform, environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_shows_for_whom_a_stage_works() {
        let platform: Platform = "linux/amd64".parse().unwrap();
        for (variables, expected) in [
            (&[][..], ""),
            (&[("TARGETARCH", "arm64")], "->arm64"),
            (&[("TARGETARCH", "arm"), ("TARGETVARIANT", "v6")], "->arm/v6"),
            (&[("TARGETOS", "linux")], ""),
            (&[("TARGETOS", "windows")], "->windows/amd64"),
            (&[("TARGETPLATFORM", "linux/arm64")], "->arm64"),
            (&[("TARGETPLATFORM", "linux/amd64")], ""),
            (&[("TARGETVARIANT", "v7")], ""),
        ] {
            let mut environment = Environment::new();
            for (name, value) in variables {
                environment.set(*name, *value);
            }
            assert_eq!(arrow(&platform, &environment), expected, "{variables:?}");
        }
    }
}
