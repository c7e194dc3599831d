//! Errors as the user sees them, and the exit codes.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: a step of the build, a registry, the disk |
//! | 2 | the command line, or a file it names, cannot be followed; or it asks for what rbuild does not do |
//! | 125, 126, 127 | `rbuild run` only: rbuild failed; the program cannot be run; the program was not found |
//! | 130 | cancelled |
//!
//! Libraries say what went wrong and why, as a chain of causes. Here the chain becomes one line, and the line gets what
//! to do next.
//!
//! ```text
//! Dockerfile:3                                                     excerpt, where there is one
//! ERROR: failed to build: failed to solve: …: the cause: its cause
//! hint: the next step
//! full log: /var/lib/rbuild/v1/logs/…
//! ```

use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use oci::PortError;
use solver::StepError;

/// What kind of failure it is; says the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The work failed.
    Failed,
    /// What is asked for cannot be understood or done.
    Usage,
    /// The user stopped it.
    Cancelled,
    /// `rbuild run` did not get to start the program.
    BeforeRun,
    /// The program of `rbuild run` cannot be run.
    NotExecutable,
    /// The program of `rbuild run` is not there.
    NoSuchProgram,
}

/// Why a command failed, for people.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    message: String,
    hint: Option<String>,
    report: String,
    log: Option<PathBuf>,
    /// The causes as programmers see them, a line each, the outermost first.
    causes: Box<str>,
    is_in_full: bool,
}

impl CommandError {
    /// The work failed.
    pub(crate) fn failed(what: impl Display) -> CommandError {
        CommandError::new(Kind::Failed, what)
    }

    /// What is asked for cannot be understood or done.
    pub(crate) fn usage(what: impl Display) -> CommandError {
        CommandError::new(Kind::Usage, what)
    }

    /// The user stopped it.
    pub(crate) fn cancelled() -> CommandError {
        CommandError::new(Kind::Cancelled, "cancelled")
    }

    /// A failure of any kind.
    pub(crate) fn new(kind: Kind, what: impl Display) -> CommandError {
        CommandError {
            kind,
            message: what.to_string(),
            hint: None,
            report: String::new(),
            log: None,
            causes: Box::default(),
            is_in_full: false,
        }
    }

    /// The same failure, its causes told, and the hint they call for.
    pub(crate) fn because(mut self, error: &(dyn Error + 'static)) -> CommandError {
        let mut cause = Some(error);
        let mut is_isolation = false;
        while let Some(error) = cause {
            let text = error.to_string();
            self.causes = format!("{}\ncause: {error:?}", self.causes).into();
            // What the kernel answers about namespaces says «no space» of its limits, and the error itself what to do.
            is_isolation |= error.is::<sandbox::Error>();
            // A transparent error says the same as its cause.
            if !self.message.ends_with(&text) {
                let _ = write!(self.message, ": {text}");
            }
            if !is_isolation {
                self.hint = hint_for(error).or(self.hint);
            }
            if let Some(sandbox::Error::Program { message }) = error.downcast_ref()
                && message.ends_with("exec format error")
            {
                self.hint = Some(FOREIGN_PROGRAM.to_owned());
            }
            cause = error.source();
        }
        self
    }

    /// The same failure with what to do next.
    pub(crate) fn hint(mut self, text: impl Display) -> CommandError {
        self.hint = Some(text.to_string());
        self
    }

    /// The same failure with lines to show before it: what was logged, an excerpt.
    pub(crate) fn report(mut self, text: String) -> CommandError {
        self.report = text;
        self
    }

    /// The same failure with the file that holds all that the failed process wrote.
    pub(crate) fn log(mut self, path: Option<PathBuf>) -> CommandError {
        self.log = path;
        self
    }

    /// The same failure, to be told with all that is known of it.
    pub(crate) fn in_full(mut self) -> CommandError {
        self.is_in_full = true;
        self
    }

    /// The same failure as one of another kind.
    pub(crate) fn of_kind(mut self, kind: Kind) -> CommandError {
        self.kind = kind;
        self
    }

    /// What went wrong, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::BeforeRun => 125,
            Kind::NotExecutable => 126,
            Kind::NoSuchProgram => 127,
            Kind::Cancelled => 130,
        })
    }
}

impl Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)?;
        write!(f, "ERROR: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        if self.is_in_full {
            f.write_str(&self.causes)?;
        }
        match &self.log {
            Some(log) => write!(f, "\nfull log: {}", log.display()),
            None => Ok(()),
        }
    }
}

impl Error for CommandError {}

/// What to do where the kernel cannot run a program.
const FOREIGN_PROGRAM: &str = "the program is for another processor, or a script without `#!`; emulators come with \
    `apt-get install qemu-user-static` (Debian, Ubuntu), `dnf install qemu-user-static` (Fedora), or for all with \
    `docker run --privileged --rm tonistiigi/binfmt --install all`";

/// The next step that a cause calls for.
fn hint_for(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(PortError::Denied { name, .. }) = error.downcast_ref() {
        let host = match name.parse::<oci::Reference>() {
            Ok(reference) if reference.host() != "docker.io" => format!(" {}", reference.host()),
            _ => String::new(),
        };
        return Some(format!("log in with `docker login{host}`, or check the name"));
    }
    if let Some(PortError::Unreachable { .. }) = error.downcast_ref() {
        let other = "--build-context NAME=oci-layout://DIR";
        return Some(format!(
            "check the name and the network; an image from elsewhere can be given with {other}"
        ));
    }
    if let Some(StepError::NoSecret { id }) = error.downcast_ref() {
        return Some(format!(
            "give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE"
        ));
    }
    if let Some(StepError::NoAgent { id }) = error.downcast_ref() {
        return Some(format!(
            "lend your agent with --ssh {id}, or a key with --ssh {id}=FILE"
        ));
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room with `rbuild prune`, or choose another disk with --root".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write `/x`")]
    struct Write(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Transparent(Write);

    #[test]
    fn causes_are_told_once_and_call_for_a_hint() {
        let cause = Transparent(Write(io::Error::from(io::ErrorKind::StorageFull)));
        let error = CommandError::failed("failed to build").because(&cause);
        assert_eq!(
            error.to_string(),
            "ERROR: failed to build: cannot write `/x`: no storage space\nhint: make room with `rbuild prune`, or choose another disk with --root"
        );
    }

    #[test]
    fn a_failed_step_has_its_report_before_and_its_log_behind() {
        let error = CommandError::failed("failed to build")
            .report("Dockerfile:1\n".to_owned())
            .log(Some(PathBuf::from("/logs/1")));
        assert_eq!(
            error.to_string(),
            "Dockerfile:1\nERROR: failed to build\nfull log: /logs/1"
        );
    }

    #[test]
    fn access_denied_names_the_registry_to_log_in_to() {
        for (name, hint) in [
            (
                "r.example/a:1",
                "log in with `docker login r.example`, or check the name",
            ),
            ("docker.io/library/a:1", "log in with `docker login`, or check the name"),
        ] {
            let cause = PortError::Denied {
                name: name.to_owned(),
                detail: "401".to_owned(),
            };
            assert_eq!(CommandError::failed("x").because(&cause).hint.as_deref(), Some(hint));
        }
    }
}
