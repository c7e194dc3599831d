//! Answers for people.

use std::fmt::Write as _;

use frontend::{Demand, Outline, Target, Warning};

use super::json::QUESTIONS;
use crate::ui;
use crate::ui::text::harmless;

/// What was found, in the order of lines, each with the author's own lines.
pub(super) fn check(path: &str, source: &[u8], warnings: &[Warning]) -> String {
    let mut out = match warnings.len() {
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    let mut sorted: Vec<&Warning> = warnings.iter().collect();
    sorted.sort_by_key(|warning| warning.lines.0.start);
    let source = ui::lines(source);
    for Warning { rule, detail, lines } in sorted {
        let url = rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
        let detail = harmless(detail.as_bytes());
        let excerpt = ui::excerpt_of_lines(path, &source, std::slice::from_ref(lines)).unwrap_or_default();
        let _ = write!(out, "\nWARNING: {rule}{url}\n{detail}\n{excerpt}");
    }
    out
}

/// Tables of what the target can be given.
pub(super) fn outline(outline: &Outline) -> String {
    let mut out = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = match outline.name.as_str() {
            "" => "(default)",
            name => name,
        };
        let mut rows = vec![vec!["TARGET:", name]];
        if !outline.description.is_empty() {
            rows.push(vec!["DESCRIPTION:", &outline.description]);
        }
        out += &table(1, &rows);
        out.push('\n');
    }
    if !outline.arguments.is_empty() {
        let mut rows = vec![vec!["BUILD ARG", "VALUE", "DESCRIPTION"]];
        let arguments = outline.arguments.iter();
        rows.extend(arguments.map(|argument| vec![&*argument.name, &*argument.value, &*argument.description]));
        out += &table(3, &rows);
        out.push('\n');
    }
    for (title, demands) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        if demands.is_empty() {
            continue;
        }
        let required = |demand: &Demand| if demand.is_required { "true" } else { "" };
        let mut rows = vec![vec![title, "REQUIRED"]];
        rows.extend(demands.iter().map(|demand| vec![&*demand.name, required(demand)]));
        out += &table(3, &rows);
        out.push('\n');
    }
    out
}

/// A table of what can be built.
pub(super) fn targets(targets: &[Target]) -> String {
    let name = |target: &Target| match (target.name.as_str(), target.is_default) {
        ("", true) => "(default)".to_owned(),
        (name, true) => format!("{name} (default)"),
        (name, false) => name.to_owned(),
    };
    let names: Vec<String> = targets.iter().map(name).collect();
    let mut rows = vec![vec!["TARGET", "DESCRIPTION"]];
    let targets = names.iter().zip(targets);
    rows.extend(targets.map(|(name, target)| vec![name.as_str(), target.description.as_str()]));
    table(1, &rows)
}

/// A table of what can be asked.
pub(super) fn questions() -> String {
    let mut rows = vec![vec!["NAME", "VERSION", "DESCRIPTION"]];
    let questions = QUESTIONS.iter();
    rows.extend(questions.map(|question| vec![question.name, question.version, question.description]));
    table(1, &rows)
}

/// Rows whose cells but the last are as wide as the widest of their column, and `gap` more.
fn table(gap: usize, rows: &[Vec<&str>]) -> String {
    let width = |cell: &str| cell.chars().count();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| harmless(cell.as_bytes())).collect())
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| cells.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut out = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < columns {
                let padding = widths[column] + gap - width(cell);
                out.extend(std::iter::repeat_n(' ', padding));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use frontend::{Argument, Rule};
    use graph::SourceLines;

    use super::*;

    #[test]
    fn findings_stand_in_the_order_of_lines() {
        let warning = |rule, detail: &str, line| Warning {
            rule,
            detail: detail.to_owned(),
            lines: SourceLines(line..line + 1),
        };
        let warnings = [
            warning(Rule::UndefinedVar, "late", 2),
            warning(Rule::InvalidBaseImagePlatform, "early", 1),
        ];
        assert_eq!(
            check("a/Dockerfile", b"FROM x\nRUN y", &warnings),
            "Check complete, 2 warnings have been found!\n\n\
             WARNING: InvalidBaseImagePlatform\nearly\na/Dockerfile:1\n--------------------\n   1 | >>> FROM x\n   2 |     RUN y\n--------------------\n\n\
             WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/\nlate\na/Dockerfile:2\n--------------------\n   1 |     FROM x\n   2 | >>> RUN y\n--------------------\n"
        );
    }

    #[test]
    fn an_outline_has_a_table_for_each_kind() {
        let given = Outline {
            name: "app".to_owned(),
            description: "is it".to_owned(),
            arguments: vec![Argument {
                name: "VERSION".to_owned(),
                value: "1".to_owned(),
                description: "which".to_owned(),
                lines: SourceLines(1..2),
            }],
            secrets: vec![Demand {
                name: "token".to_owned(),
                is_required: true,
                lines: SourceLines(2..3),
            }],
            agents: Vec::new(),
        };
        assert_eq!(
            outline(&given),
            "TARGET:      app\nDESCRIPTION: is it\n\n\
             BUILD ARG   VALUE   DESCRIPTION\nVERSION     1       which\n\n\
             SECRET   REQUIRED\ntoken    true\n\n"
        );
        assert_eq!(outline(&Outline::default()), "");
    }
}
