//! What is allowed in a Dockerfile but not good: rules, which of them count where, and what was found.
//!
//! Findings are reported on the way of a text to its plan, where the facts are known: what the text alone shows in
//! [`text`], what depends on variables and images by the stages and by `convert`. Names, texts and the exact conditions are
//! BuildKit's, so that a comment that silences a rule there silences it here.

pub(crate) mod from;
mod rule;
mod settings;
pub(crate) mod stage;
pub(crate) mod text;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use graph::SourceLines;

pub use rule::Rule;
use settings::Settings;

use crate::command::Placed;
use crate::parse;
use crate::{Diagnostic, Options, suggest};

/// So many warnings of a file have hints.
const HINTED: usize = 500;

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it goes against.
    pub rule: Rule,
    /// What was found, in one sentence.
    pub detail: String,
    /// Where.
    pub lines: SourceLines,
}

impl fmt::Display for Warning {
    /// `Rule: detail (line 3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)?;
        match self.lines.0.start {
            0 => Ok(()),
            line => write!(f, " (line {line})"),
        }
    }
}

/// Collects warnings in the order in which they are found; they count also where an error comes after them.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Vec<Warning>>>);

impl Findings {
    /// Nothing found yet.
    #[must_use]
    pub fn new() -> Findings {
        Findings::default()
    }

    /// What was found so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn add(&self, warning: Warning) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }
}

/// Lets those rules report that count.
#[derive(Clone, Debug)]
pub(crate) struct Linter {
    findings: Findings,
    settings: Settings,
}

impl Linter {
    /// A linter with the settings of the build, or else of the file.
    pub(crate) fn new(text: &[u8], options: &Options, findings: &Findings) -> Result<Linter, Diagnostic> {
        const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";
        let failed = |what: &'static str| {
            move |error: Diagnostic| Diagnostic::new(format!("failed to parse {what}: {}", error.message))
        };
        let directive = || {
            let directives = parse::directives(text, "#");
            let found = directives.into_iter().find(|directive| directive.name == "check");
            let value = found.map(|directive| directive.value).unwrap_or_default();
            value.split(' ').next().unwrap_or_default().to_owned()
        };
        let settings = match options.build_args.get(ARGUMENT) {
            Some(text) => Settings::parse(text).map_err(failed("build-arg:BUILDKIT_DOCKERFILE_CHECK"))?,
            None => Settings::parse(&directive()).map_err(failed("check options"))?,
        };
        Ok(Linter {
            findings: findings.clone(),
            settings,
        })
    }

    /// A linter that tells nobody.
    pub(crate) fn deaf() -> Linter {
        Linter {
            findings: Findings::new(),
            settings: Settings::default(),
        }
    }

    /// The linter with what the comments above an instruction add to its settings.
    pub(crate) fn beside(&self, comments: &[String]) -> Cow<'_, Linter> {
        match Settings::of_comments(comments) {
            None => Cow::Borrowed(self),
            Some(more) => Cow::Owned(Linter {
                findings: self.findings.clone(),
                settings: self.settings.with(more),
            }),
        }
    }

    /// The linter at an instruction.
    pub(crate) fn at(&self, placed: &Placed) -> Spot {
        Spot {
            linter: self.beside(&placed.comments).into_owned(),
            keyword: placed.keyword.clone(),
            lines: placed.lines.clone(),
        }
    }

    /// Reports `detail` if the rule counts.
    pub(crate) fn report(&self, rule: Rule, lines: &SourceLines, detail: impl Into<String>) {
        if self.settings.admits(rule) {
            self.findings.add(Warning {
                rule,
                detail: detail.into(),
                lines: lines.clone(),
            });
        }
    }

    /// The end of a build whose warnings are errors.
    pub(crate) fn verdict(&self) -> Result<(), Diagnostic> {
        let warnings = self.findings.warnings();
        if !self.settings.is_error || warnings.is_empty() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        let rules = warnings.iter().map(|warning| warning.rule);
        let names: Vec<&str> = rules.filter(|rule| seen.insert(*rule)).map(Rule::name).collect();
        let names = names.join(", ");
        Err(Diagnostic::new(format!("lint violation found for rules: {names}")))
    }
}

/// The linter at an instruction: with its settings, its name as written and its place.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    linter: Linter,
    pub(crate) keyword: String,
    pub(crate) lines: SourceLines,
}

impl Spot {
    /// Of no instruction: nobody hears of what is reported there.
    pub(crate) fn nowhere() -> Spot {
        Spot {
            linter: Linter::deaf(),
            keyword: String::new(),
            lines: SourceLines(0..0),
        }
    }

    /// The option nearest to `given`. Where nearly everything is wrong nothing is proposed: nobody reads so much, and
    /// looking for it would take longer than all else.
    pub(crate) fn nearest<'a>(&self, given: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        match self.linter.findings.count() < HINTED {
            true => suggest::nearest(given, options),
            false => None,
        }
    }

    /// Reports `detail` about this instruction if the rule counts.
    pub(crate) fn report(&self, rule: Rule, detail: impl Into<String>) {
        self.report_at(rule, &self.lines, detail);
    }

    /// Reports `detail` about other lines.
    pub(crate) fn report_at(&self, rule: Rule, lines: &SourceLines, detail: impl Into<String>) {
        self.linter.report(rule, lines, detail);
    }
}
