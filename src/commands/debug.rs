//! `rbuild debug`: the inner workings, for tests and for the curious.

use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use super::{answer, load};
use crate::cli::DebugCommand;
use crate::cli::values::Pair;
use crate::error::CommandError;
use crate::ui;

/// Shows it.
///
/// # Errors
/// When the file or the word cannot be read.
pub(crate) fn run(command: DebugCommand) -> Result<ExitCode, CommandError> {
    match command {
        DebugCommand::Ast { file } => ast(&file),
        DebugCommand::Words { word, variables } => words(&word, variables),
        DebugCommand::Fsck { .. } => unreachable!("served with the store"),
        DebugCommand::LoadWhenReady { program } => load::wait_and_become(&program),
    }
}

fn ast(file: &Path) -> Result<ExitCode, CommandError> {
    let name = file.display().to_string();
    let text = read(file).map_err(|error| CommandError::usage(format!("cannot read {name}")).because(&error))?;
    match frontend::parse(&text) {
        Ok(dockerfile) => answer(format_args!("{}\n", frontend::ast_dump(&dockerfile).trim_end())),
        Err(diagnostic) => {
            let excerpt = ui::excerpt(&name, &text, &diagnostic.lines).unwrap_or_default();
            let failure = CommandError::failed("failed to parse")
                .because(&diagnostic)
                .report(excerpt);
            Err(match &diagnostic.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

/// Each word on a line of its own.
fn words(word: &str, variables: Vec<Pair>) -> Result<ExitCode, CommandError> {
    let pairs = variables
        .into_iter()
        .map(|pair| (pair.key, pair.value.unwrap_or_default()));
    let environment: frontend::Environment = pairs.collect();
    let words = frontend::words(word, &environment);
    let words = words.map_err(|error| CommandError::failed("failed to process the word").because(&error))?;
    answer(words.iter().map(|word| format!("{word}\n")).collect::<String>())
}
