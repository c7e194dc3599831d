//! What the text alone shows: names, cases, comments.

use std::collections::BTreeSet;

use graph::SourceLines;

use super::{Linter, Rule};
use crate::command::{Command, Placed};
use crate::parse::Instruction;
use crate::plan::Section;
use crate::quote::quote;

/// Names of stages that always mean something else.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Empty lines in instructions that go on.
pub(crate) fn empty_continuations(places: &[SourceLines], linter: &Linter) {
    for lines in places {
        linter.report(Rule::NoEmptyContinuation, lines, "Empty continuation line");
    }
}

/// What can be said of an instruction before it is understood.
pub(crate) fn instruction(instruction: &Instruction, linter: &Linter) {
    let linter = linter.beside(&instruction.comments);
    let lines = &instruction.lines;
    let keyword = instruction.name.as_str();
    if keyword.eq_ignore_ascii_case("maintainer") {
        let detail = "Maintainer instruction is deprecated in favor of using label";
        linter.report(Rule::MaintainerDeprecated, lines, detail);
    }
    if !keyword.eq_ignore_ascii_case("from") {
        return;
    }
    if let [_, _, name] = &instruction.arguments[..]
        && *name != name.to_lowercase()
    {
        let detail = format!("Stage name '{name}' should be lowercase");
        linter.report(Rule::StageNameCasing, lines, detail);
    }
    if let [_, word, _, ..] = &instruction.arguments[..]
        && !cases_match(keyword, word)
    {
        let detail = format!("'{word}' and '{keyword}' keywords' casing do not match");
        linter.report(Rule::FromAsCasing, lines, detail);
    }
}

/// Whether AS is written as FROM is; a FROM of mixed case is a matter of its own.
fn cases_match(from: &str, word: &str) -> bool {
    if from == from.to_lowercase() {
        word == word.to_lowercase()
    } else {
        from != from.to_uppercase() || word == word.to_uppercase()
    }
}

/// The comment right above a stage or an argument is about it.
pub(crate) fn description(placed: &Placed, linter: &Linter) {
    let (what, names): (&str, Vec<&str>) = match &placed.command {
        Command::From(from) => ("FROM", from.name.as_deref().into_iter().collect()),
        Command::Arg(pairs) => ("ARG", pairs.iter().map(|pair| pair.name.as_str()).collect()),
        _ => return,
    };
    let (Some(comment), Some(first)) = (placed.comments.last(), names.first()) else {
        return;
    };
    let word = comment.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let detail = format!("Comment for {what} should follow the format: `# {example} <description>`");
    linter
        .beside(&placed.comments)
        .report(Rule::InvalidDefinitionDescription, &placed.lines, detail);
}

/// What can be said once all stages are known by name.
pub(crate) fn sections(sections: &[Section], linter: &Linter) {
    stage_names(sections, linter);
    instruction_cases(sections, linter);
}

fn stage_names(sections: &[Section], linter: &Linter) {
    let mut seen = BTreeSet::new();
    for section in sections {
        let Command::From(from) = &section.from.command else {
            continue;
        };
        let Some(name) = from.name.as_deref() else { continue };
        let lines = &section.from.lines;
        if RESERVED.contains(&name) {
            let name = quote(name);
            let detail = format!("Stage name should not use the same name as reserved stage {name}");
            linter.report(Rule::ReservedStageName, lines, detail);
        }
        if !seen.insert(name) {
            let name = quote(name);
            let detail = format!("Duplicate stage name {name}, stage names should be unique");
            linter.report(Rule::DuplicateStageName, lines, detail);
        }
    }
}

/// All in upper case or all in lower case, as most are.
fn instruction_cases(sections: &[Section], linter: &Linter) {
    let all = || {
        sections
            .iter()
            .flat_map(|section| std::iter::once(&section.from).chain(&section.commands))
    };
    let is_lower = |word: &str| word == word.to_lowercase();
    let is_upper = |word: &str| word == word.to_uppercase();
    let lower = all().filter(|placed| is_lower(&placed.keyword)).count();
    let upper = all()
        .filter(|placed| is_upper(&placed.keyword) && !is_lower(&placed.keyword))
        .count();
    for Placed { keyword, lines, .. } in all() {
        let wanted = match lower > upper {
            true if !is_lower(keyword) => "lowercase",
            false if !is_upper(keyword) => "uppercase",
            _ => continue,
        };
        let detail = format!("Command '{keyword}' should match the case of the command majority ({wanted})");
        linter.report(Rule::ConsistentInstructionCasing, lines, detail);
    }
}
