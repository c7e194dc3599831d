//! The program against what strangers bring: each try ends in a clear error or in nothing bad, within its time.

mod contexts;
mod language;
mod layers;
mod remotes;
mod secrets;
mod terminal;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::text;

/// What a command that may hang said and how it ended; it has half a minute.
fn ended(command: &mut Command) -> Output {
    command.stdin(Stdio::null());
    let began = Instant::now();
    let output = command.output().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{command:?} took {:?}: {}",
        began.elapsed(),
        text(&output.stderr)
    );
    output
}

/// What a command that must fail, and not by a signal, said.
fn refusal(command: &mut Command) -> String {
    let output = ended(command);
    let said = text(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(1..=5)),
        "{command:?}: {}: {said}",
        output.status
    );
    said
}

/// Characters that a terminal does not show but does.
fn steering(text: &str) -> Option<char> {
    let is_direction = |letter: char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t') || is_direction(*letter))
}
