//! The syntax tree as text: one S-expression an instruction, for people and golden files.

use crate::parse::{Dockerfile, Instruction};
use crate::quote::{quote, quote_list};

/// One line an instruction: `(copy ["--from=a"] "x" "y")`.
#[must_use]
pub fn ast_dump(dockerfile: &Dockerfile) -> String {
    let lines: Vec<String> = dockerfile.instructions.iter().map(expression).collect();
    lines.join("\n")
}

fn expression(instruction: &Instruction) -> String {
    let mut parts = vec![instruction.name.to_lowercase()];
    if !instruction.flags.is_empty() {
        parts.push(quote_list(&instruction.flags));
    }
    parts.extend(instruction.trigger.as_deref().map(expression));
    parts.extend(instruction.arguments.iter().map(|argument| quote(argument)));
    format!("({})", parts.join(" "))
}
