//! `rbuild doctor`: whether builds will work here, on which rungs, and what to do for more.
//!
//! What can be tried is tried: the namespaces are entered, the store is opened, an overlay mounted on it if there are any, and a
//! step run that is thrown away. The rest is read. Three verdicts: `ok`; `note`, where builds work but something is missing or
//! better to be had; `problem`, where they do not.

mod kernel;
mod store;
mod surroundings;

use std::path::Path;
use std::process::ExitCode;

use sandbox::{Isolation, Wish};
use serde_json::{Value, json};

use super::answer;
use crate::cli::{DoctorArgs, TableFormat};
use crate::environment::Environment;
use crate::error::CommandError;

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What there is.
    text: String,
    /// What to do.
    next: Option<String>,
}

/// What it means for builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// All there is.
    Ok,
    /// Builds work, but not everything in them.
    Note,
    /// Builds do not work.
    Problem,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Check {
        Check {
            name,
            verdict: Verdict::Ok,
            text: text.into(),
            next: None,
        }
    }

    fn note(name: &'static str, text: impl Into<String>, next: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Note,
            next: Some(next.into()),
            ..Check::ok(name, text)
        }
    }

    fn problem(name: &'static str, text: impl Into<String>, next: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Problem,
            next: Some(next.into()),
            ..Check::ok(name, text)
        }
    }
}

/// Looks at everything, and writes what it found to standard output.
///
/// Must be called while the process has one thread, and outside of its namespaces.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn run(
    args: &DoctorArgs,
    root: &Path,
    environment: &Environment,
    wish: Wish,
) -> Result<ExitCode, CommandError> {
    let search = environment.path("PATH");
    let machine = sandbox::machine(search);
    // Looked at from outside, where the user is who they are.
    let surroundings = surroundings::look(environment);
    let isolation = sandbox::enter(wish);
    let is_plain = isolation.as_ref().is_ok_and(Isolation::is_plain);
    let mut checks = vec![kernel::version(&machine), kernel::filters(&machine, is_plain)];
    checks.push(kernel::isolation(&isolation, &machine.ids));
    checks.push(kernel::control_groups(&machine.control_groups));
    match &isolation {
        Ok(isolation) => {
            checks.extend(store::look(root, isolation));
            checks.push(kernel::emulators(isolation, search));
        }
        Err(_) => checks.push(Check::note(
            "store",
            format!(
                "{} was not looked at: its files are read in namespaces only",
                root.display()
            ),
            "see to the isolation first",
        )),
    }
    checks.extend(surroundings);
    match args.format {
        TableFormat::Table => answer(as_lines(&checks))?,
        TableFormat::Json => answer(format_args!("{:#}\n", as_json(&checks)))?,
    };
    Ok(match works(&checks) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn works(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Problem)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Note => "note",
        Verdict::Problem => "problem",
    }
}

fn as_lines(checks: &[Check]) -> String {
    let mut lines = String::new();
    for Check {
        name,
        verdict,
        text,
        next,
    } in checks
    {
        // Paths and answers of programs are in there.
        let text = crate::ui::text::harmless(text.as_bytes());
        lines += &format!("{:<8} {name}: {text}\n", word(*verdict));
        if let Some(next) = next {
            lines += &format!("{:<8} next: {}\n", "", crate::ui::text::harmless(next.as_bytes()));
        }
    }
    let problems = checks.iter().filter(|check| check.verdict == Verdict::Problem).count();
    lines += match problems {
        0 => "\nBuilds work here.\n",
        1 => "\nBuilds do not work here, for one reason.\n",
        _ => "\nBuilds do not work here, for several reasons.\n",
    };
    lines
}

fn as_json(checks: &[Check]) -> Value {
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "verdict": word(check.verdict),
                "text": check.text,
                "next": check.next,
            })
        })
        .collect();
    json!({ "works": works(checks), "checks": list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_begins_with_its_verdict_and_problems_say_what_is_next() {
        let checks = [
            Check::ok("kernel", "Linux 6.18"),
            Check::note("git", "not installed", "install it"),
            Check::problem("store", "read-only\u{1b}[2J", "choose another"),
        ];
        let expected = "ok       kernel: Linux 6.18\n\
                        note     git: not installed\n         next: install it\n\
                        problem  store: read-only";
        let lines = as_lines(&checks);
        assert!(lines.starts_with(expected), "{lines}");
        assert!(
            lines.ends_with("\nBuilds do not work here, for one reason.\n"),
            "{lines}"
        );
        assert!(!lines.contains('\u{1b}'), "{lines:?}");
        assert!(works(&checks[..2]) && !works(&checks));
        assert_eq!(as_json(&checks[..1])["checks"][0]["verdict"], "ok");
    }
}
