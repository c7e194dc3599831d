//! The `rbuild` command: arguments in, words out, and the wiring between the crates.
//!
//! Everything the program takes from the world around it, it takes here, first: arguments, environment, terminals. Then
//! it enters its namespaces, while it still has one thread, and only then the work begins.
#![forbid(unsafe_code)]

mod absent;
mod ahead;
mod build;
mod caches;
mod call;
mod ci;
mod cli;
mod commands;
mod deliver;
mod elsewhere;
mod emulation;
mod environment;
mod error;
mod images;
mod interrupt;
mod json;
mod lead;
mod permission;
mod policy;
mod reach;
mod remotes;
mod request;
mod timeline;
mod trust;
mod ui;

use std::io::{self, Write};
use std::process::ExitCode;

use environment::Environment;

fn main() -> ExitCode {
    sandbox::init_if_asked();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version are answers, all else are complaints; clap knows which, and where each goes.
        Err(words) => {
            let _ = words.print();
            return ExitCode::from(u8::try_from(words.exit_code()).unwrap_or(2));
        }
    };
    match commands::run(cli, Environment::read()) {
        Ok(code) => code,
        Err(error) => {
            // With stderr gone there is nobody to tell; the exit code still does.
            let _ = writeln!(io::stderr(), "{}", ui::text::harmless_lines(&error.to_string()));
            error.code()
        }
    }
}
