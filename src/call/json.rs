//! Answers for programs: the JSON of buildx, to the letter.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use frontend::{Demand, Outline, Target, Warning};
use graph::SourceLines;
use serde::Serialize;

use crate::ui::text::harmless_json;

#[derive(Serialize)]
struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Clone, Copy, Serialize)]
struct Position {
    line: usize,
}

impl Location {
    /// A range for each line.
    fn of<'a>(places: impl IntoIterator<Item = &'a SourceLines>) -> Location {
        let mut lines: Vec<usize> = places.into_iter().flat_map(|place| place.0.clone()).collect();
        lines.sort_unstable();
        lines.dedup();
        let range = |line| Range {
            start: Position { line },
            end: Position { line },
        };
        Location {
            ranges: lines.into_iter().map(range).collect(),
        }
    }
}

#[derive(Serialize)]
struct CheckJson {
    warnings: Option<Vec<WarningJson>>,
    sources: [SourceJson; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct WarningJson {
    #[serde(rename = "ruleName")]
    rule_name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: String,
    location: Location,
}

#[derive(Serialize)]
struct SourceJson {
    filename: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct ErrorJson {
    message: String,
    location: Location,
}

/// What was found in the file `name`, in the order in which it was found, and what keeps it from being built.
pub(super) fn check(name: &str, source: &[u8], warnings: &[Warning], error: Option<(&str, &[SourceLines])>) -> String {
    let warnings = warnings.iter().map(|warning| WarningJson {
        rule_name: warning.rule.name(),
        description: warning.rule.description(),
        url: warning.rule.url(),
        detail: warning.detail.clone(),
        location: Location::of([&warning.lines]),
    });
    let name = name.rsplit('/').next().unwrap_or(name);
    write(&CheckJson {
        warnings: Some(warnings.collect::<Vec<_>>()).filter(|warnings| !warnings.is_empty()),
        sources: [SourceJson {
            filename: name.to_owned(),
            data: STANDARD.encode(source),
            language: "Dockerfile",
        }],
        build_error: error.map(|(message, lines)| ErrorJson {
            message: message.to_owned(),
            location: Location::of(lines),
        }),
    })
}

#[derive(Serialize)]
struct OutlineJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgumentJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<DemandJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<DemandJson<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct ArgumentJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct DemandJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

/// What the target can be given.
pub(super) fn outline(outline: &Outline, source: &[u8]) -> String {
    let arguments = outline.arguments.iter().map(|argument| ArgumentJson {
        name: &argument.name,
        description: &argument.description,
        value: &argument.value,
        location: Location::of([&argument.lines]),
    });
    write(&OutlineJson {
        name: &outline.name,
        description: &outline.description,
        args: arguments.collect(),
        secrets: demands(&outline.secrets),
        ssh: demands(&outline.agents),
        sources: [STANDARD.encode(source)],
    })
}

fn demands(demands: &[Demand]) -> Vec<DemandJson<'_>> {
    let demands = demands.iter().map(|demand| DemandJson {
        name: &demand.name,
        required: demand.is_required,
        location: Location::of([&demand.lines]),
    });
    demands.collect()
}

#[derive(Serialize)]
struct TargetsJson<'a> {
    targets: Vec<TargetJson<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct TargetJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "default", skip_serializing_if = "std::ops::Not::not")]
    is_default: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    base: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    platform: &'a str,
    location: Location,
}

/// What can be built.
pub(super) fn targets(targets: &[Target], source: &[u8]) -> String {
    let targets = targets.iter().map(|target| TargetJson {
        name: &target.name,
        is_default: target.is_default,
        description: &target.description,
        base: &target.base,
        platform: &target.platform,
        location: Location::of([&target.lines]),
    });
    write(&TargetsJson {
        targets: targets.collect(),
        sources: [STANDARD.encode(source)],
    })
}

/// A question that can be asked.
pub(super) struct Question {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) description: &'static str,
    options: Option<&'static [Named]>,
}

#[derive(Clone, Copy, Serialize)]
struct Named {
    name: &'static str,
    description: &'static str,
}

/// What can be asked, as BuildKit's own list has it.
pub(super) const QUESTIONS: [Question; 3] = [
    Question {
        name: "outline",
        version: "1.0.0",
        description: "List all parameters current build target supports",
        options: Some(&[Named {
            name: "target",
            description: "Target build stage",
        }]),
    },
    Question {
        name: "targets",
        version: "1.0.0",
        description: "List all targets current build supports",
        options: Some(&[]),
    },
    Question {
        name: "subrequests.describe",
        version: "1.0.0",
        description: "List available subrequest types",
        options: None,
    },
];

#[derive(Serialize)]
struct QuestionJson {
    name: String,
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
    opts: Option<&'static [Named]>,
    inputs: Option<Named>,
    metadata: [Named; 2],
    refs: Option<Named>,
}

/// What can be asked.
pub(super) fn questions() -> String {
    let questions = QUESTIONS.iter().map(|question| QuestionJson {
        name: format!("frontend.{}", question.name),
        version: question.version,
        kind: "rpc",
        description: question.description,
        opts: question.options,
        inputs: None,
        metadata: ["result.json", "result.txt"].map(|name| Named { name, description: "" }),
        refs: None,
    });
    write(&questions.collect::<Vec<_>>())
}

/// As Go writes it: two blanks, and what means something in HTML as numbers.
fn write(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("answers have only string keys");
    let mut out = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => out.push(other),
        }
    }
    out.push('\n');
    harmless_json(&out)
}

#[cfg(test)]
mod tests {
    use frontend::Rule;

    use super::*;

    #[test]
    fn a_finding_has_its_rule_and_its_lines() {
        let warning = Warning {
            rule: Rule::InvalidBaseImagePlatform,
            detail: "a < b".to_owned(),
            lines: SourceLines(2..4),
        };
        let text = check("x/Dockerfile", b"a", &[warning], Some(("no", &[])));
        let squeezed: String = text.split_whitespace().collect();
        assert_eq!(
            squeezed,
            r#"{"warnings":[{"ruleName":"InvalidBaseImagePlatform","description":"Baseimageplatformdoesnotmatchexpectedtargetplatform","detail":"a\u003cb","location":{"ranges":[{"start":{"line":2},"end":{"line":2}},{"start":{"line":3},"end":{"line":3}}]}}],"sources":[{"filename":"Dockerfile","data":"YQ==","language":"Dockerfile"}],"buildError":{"message":"no","location":{}}}"#
        );
        assert!(check("Dockerfile", b"", &[], None).starts_with("{\n  \"warnings\": null,\n"));
    }
}
