//! Which rules count: `skip=A,B;error=true;experimental=C` in a `# check=` directive, in a `# check=` comment above an
//! instruction, or in the build argument `BUILDKIT_DOCKERFILE_CHECK`.

use std::collections::BTreeSet;

use super::Rule;
use crate::Diagnostic;
use crate::quote::quote;

/// Which rules count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    skipped: Names,
    experimental: Names,
    /// Whether a build with a warning fails.
    pub(crate) is_error: bool,
}

/// Some rules, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    some: BTreeSet<String>,
}

impl Settings {
    /// Reads the parts between semicolons.
    pub(crate) fn parse(text: &str) -> Result<Settings, Diagnostic> {
        let mut settings = Settings::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(settings);
        }
        for part in text.splitn(3, ';') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(Diagnostic::new(format!("invalid check option {}", quote(part))));
            };
            match key.trim() {
                "skip" => settings.skipped = Names::parse(value),
                "experimental" => settings.experimental = Names::parse(value),
                "error" => {
                    settings.is_error = crate::options::boolean(value.trim()).ok_or_else(|| {
                        let value = quote(value.trim());
                        let why = format!("strconv.ParseBool: parsing {value}: invalid syntax");
                        Diagnostic::new(format!("failed to parse check option {}: {why}", quote(part)))
                    })?;
                }
                other => return Err(Diagnostic::new(format!("invalid check option {}", quote(other)))),
            }
        }
        Ok(settings)
    }

    /// What the first `check=` among the comments above an instruction adds, if there is one that can be read.
    pub(crate) fn of_comments(comments: &[String]) -> Option<Settings> {
        let value = comments.iter().find_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let is_setting = name.trim_end().eq_ignore_ascii_case("check") && !value.trim().is_empty();
            is_setting.then(|| value.trim())
        })?;
        // What stands behind a blank is a remark.
        let text = value.split(' ').next().unwrap_or_default();
        Settings::parse(text).ok()
    }

    /// These, and `more` for one instruction; whether warnings are errors is said for the whole file only.
    pub(crate) fn with(&self, more: Settings) -> Settings {
        Settings {
            skipped: self.skipped.with(more.skipped),
            experimental: self.experimental.with(more.experimental),
            is_error: self.is_error,
        }
    }

    /// Whether the rule counts.
    pub(crate) fn admits(&self, rule: Rule) -> bool {
        match rule.is_experimental() {
            true => self.experimental.contains(rule),
            false => !self.skipped.contains(rule),
        }
    }
}

impl Names {
    fn parse(text: &str) -> Names {
        match text.trim() {
            "all" => Names {
                all: true,
                some: BTreeSet::new(),
            },
            some => Names {
                all: false,
                some: some.split(',').map(|name| name.trim().to_owned()).collect(),
            },
        }
    }

    fn with(&self, mut more: Names) -> Names {
        more.all |= self.all;
        more.some.extend(self.some.iter().cloned());
        more
    }

    fn contains(&self, rule: Rule) -> bool {
        self.all || self.some.contains(rule.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_part_by_part() {
        for (text, casing, description, is_error) in [
            ("", true, false, false),
            ("skip=all", false, false, false),
            ("skip=JSONArgsRecommended, StageNameCasing", false, false, false),
            ("error=true;skip=UndefinedVar", true, false, true),
            ("experimental=all", true, true, false),
            (
                "skip=all;experimental=InvalidDefinitionDescription;error=1",
                false,
                true,
                true,
            ),
        ] {
            let settings = Settings::parse(text).unwrap();
            assert_eq!(settings.admits(Rule::StageNameCasing), casing, "{text}");
            assert_eq!(
                settings.admits(Rule::InvalidDefinitionDescription),
                description,
                "{text}"
            );
            assert_eq!(settings.is_error, is_error, "{text}");
        }
    }

    #[test]
    fn what_is_no_setting_is_said() {
        for (text, message) in [
            ("skip", "invalid check option \"skip\""),
            ("foo=bar", "invalid check option \"foo\""),
            (
                "error=maybe",
                "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(Settings::parse(text).unwrap_err().message, message);
        }
    }

    #[test]
    fn a_comment_adds_to_what_counts_for_one_instruction() {
        let file = Settings::parse("skip=UndefinedVar;error=true").unwrap();
        let comments = ["why".to_owned(), "check=skip=StageNameCasing because".to_owned()];
        let both = file.with(Settings::of_comments(&comments).unwrap());
        assert!(!both.admits(Rule::StageNameCasing) && !both.admits(Rule::UndefinedVar) && both.is_error);
        assert_eq!(Settings::of_comments(&["check=nonsense".to_owned()]), None);
    }
}
