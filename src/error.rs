//! Errors as the user sees them, and the exit codes.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | a step failed, or the build cannot be done as it is written: a file that COPY names is missing |
//! | 2 | the Dockerfile or the command line cannot be followed, or asks for what rbuild does not do |
//! | 3 | a registry, a cache, a repository or a web server did not give or take something, or wants other credentials |
//! | 4 | this machine lacks something: namespaces, user ids, an emulator, a program |
//! | 5 | no room on the disk or in memory, or a limit or a policy forbids it |
//! | 124 | `--timeout` or `--step-timeout` passed |
//! | 125, 126, 127 | `rbuild run` only: rbuild failed; the program cannot be run; the program was not found |
//! | 130 | interrupted (SIGINT) |
//! | 143 | terminated (SIGTERM) |
//!
//! Which of these it is, the causes say: see [`kind`].
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

mod kind;

use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use oci::PortError;
use sandbox::Isolation;
use solver::StepError;

pub(crate) use kind::Kind;

use crate::ci::Service;

/// Why a command failed, for people.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    message: String,
    hint: Option<String>,
    report: Box<str>,
    log: Option<PathBuf>,
    /// Of the Dockerfile, from 1.
    line: Option<u32>,
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
            report: Box::default(),
            log: None,
            line: None,
            causes: Box::default(),
            is_in_full: false,
        }
    }

    /// The same failure, its causes told, and the hint they call for.
    pub(crate) fn because(mut self, error: &(dyn Error + 'static)) -> CommandError {
        let mut cause = Some(error);
        let mut is_isolation = false;
        let mut about = About::default();
        while let Some(error) = cause {
            let text = error.to_string();
            self.causes = format!("{}\ncause: {error:?}", self.causes).into();
            if self.kind == Kind::Failed {
                self.kind = Kind::of(error).unwrap_or(Kind::Failed);
            }
            // What the kernel answers about namespaces says «no space» of its limits, and the error itself what to do.
            is_isolation |= error.is::<sandbox::Error>();
            about.learn(error);
            // A transparent error says the same as its cause.
            if !self.message.ends_with(&text) {
                let _ = write!(self.message, ": {text}");
            }
            if !is_isolation {
                self.hint = hint_for(error, about).or(self.hint);
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

    /// The same failure, with what gives more user ids if it looks as if there were too few: what fails then says so in
    /// words of its own.
    pub(crate) fn under(self, isolation: &Isolation) -> CommandError {
        let mut said = self.message.lines().chain(self.report.lines());
        match isolation.remedy() {
            Some(remedy) if said.any(is_want_of_ids) => {
                let kind = if self.kind == Kind::Failed {
                    Kind::Machine
                } else {
                    self.kind
                };
                self.of_kind(kind).hint(format_args!(
                    "there is a single user id here, so nothing can belong to another, or run as one; {remedy}"
                ))
            }
            _ => self,
        }
    }

    /// The same failure with lines to show before it: what was logged, an excerpt.
    pub(crate) fn report(mut self, text: String) -> CommandError {
        self.report = text.into();
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

    /// The same failure, about a line of the Dockerfile.
    pub(crate) fn at_line(mut self, line: Option<usize>) -> CommandError {
        self.line = line.and_then(|line| u32::try_from(line).ok());
        self
    }

    /// The line of the Dockerfile it is about.
    pub(crate) fn line(&self) -> Option<usize> {
        self.line.map(|line| line as usize)
    }

    /// The same failure in words that a service does not take for commands.
    pub(crate) fn disarmed(mut self, service: Service) -> CommandError {
        self.message = service.disarmed(&self.message);
        self.report = service.disarmed(&self.report).into();
        self.causes = service.disarmed(&self.causes).into();
        self
    }

    /// What went wrong, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

impl Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)?;
        // Lines of foreign origin, as git writes them, are not to be taken for ours.
        write!(f, "ERROR: {}", self.message.replace('\n', "\n  "))?;
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

/// Whether a line says that somebody could not be made an owner, or become another: programs do it in many words, and the
/// kernel's answer to it is that to many other things.
fn is_want_of_ids(line: &str) -> bool {
    const OF_USERS: [&str; 13] = [
        "chown",
        "chgrp",
        "owner",
        "setgroups",
        "set groups",
        "initgroups",
        "setuid",
        "seteuid",
        "setresuid",
        "setgid",
        "setegid",
        "setresgid",
        "user id",
    ];
    let line = line.to_lowercase();
    let is_refusal = line.contains("operation not permitted") || line.contains("invalid argument");
    line.contains("has no such id") || is_refusal && OF_USERS.iter().any(|word| line.contains(word))
}

/// What the causes so far tell of the one that is looked at.
#[derive(Clone, Copy, Debug, Default)]
struct About {
    /// Something was to be sent.
    push: bool,
    /// An image that a build starts from was to be found.
    base: bool,
    /// The store was to be written.
    store: bool,
}

impl About {
    fn learn(&mut self, error: &(dyn Error + 'static)) {
        self.push |= matches!(error.downcast_ref(), Some(export::Error::Push { .. }));
        self.base |= error.is::<frontend::Error>() || matches!(error.downcast_ref(), Some(StepError::Image(_)));
        self.store |= error.is::<cache::Error>() || matches!(error.downcast_ref(), Some(StepError::Store(_)));
    }
}

/// What to do where the kernel cannot run a program.
const FOREIGN_PROGRAM: &str = "the program is for another processor, or a script without `#!`; emulators come with \
    `apt-get install qemu-user-static` (Debian, Ubuntu), `dnf install qemu-user-static` (Fedora), or for all with \
    `docker run --privileged --rm tonistiigi/binfmt --install all`";

/// Whether the kernel refused an overlay, as it does on another one.
fn is_refused_mount(error: &(dyn Error + 'static)) -> bool {
    let of_store = |error: &cache::Error| matches!(error, cache::Error::Mount { .. });
    match error.downcast_ref() {
        Some(StepError::Store(error)) => of_store(error),
        _ => error.downcast_ref().is_some_and(of_store),
    }
}

/// The next step that a cause calls for.
fn hint_for(error: &(dyn Error + 'static), about: About) -> Option<String> {
    if let Some(error) = kind::port(error) {
        return hint_for_port(error, about);
    }
    if is_refused_mount(error) {
        let folder = "choose a folder on ext4, xfs or btrfs with --root, in a container one of a volume";
        return Some(format!("{folder}; or, as root, do without mounts: --isolation plain"));
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
    let of_step = || match error.downcast_ref() {
        Some(StepError::Store(error)) => Some(error),
        _ => None,
    };
    if let Some(cache::Error::NoRoom { .. }) = error.downcast_ref().or_else(of_step) {
        let free = "remove images with `rbuild rmi` and `rbuild prune --all`, or choose another disk";
        return Some(format!("`rbuild du` shows what takes the room, and for whom; {free}"));
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded if about.store => {
            Some("make room with `rbuild prune`, or choose another disk with --root".to_owned())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room where it is written to, or write it elsewhere".to_owned())
        }
        _ => None,
    }
}

/// The same for what a registry, or whatever else gives or takes images, said.
fn hint_for_port(error: &PortError, about: About) -> Option<String> {
    match error {
        // What hangs is in the way of logging in, too, and the error says what to do.
        PortError::Denied { detail, .. } if detail.contains("credential helper") => None,
        PortError::Denied { detail, .. } if detail.contains("wants a client certificate") => {
            let files = "`client.cert` and `client.key` in its folder of --registry-certs DIR";
            Some(format!("{files} are shown to a registry"))
        }
        PortError::Denied { name, .. } => {
            let host = match name.parse::<oci::Reference>() {
                Ok(reference) if reference.host() != "docker.io" => format!(" {}", reference.host()),
                _ => String::new(),
            };
            Some(format!("log in with `docker login{host}`, or check the name"))
        }
        PortError::Unreachable { detail, .. } if detail.contains("UnknownIssuer") => {
            let own = "--ca-file FILE trusts one for all of the build, --registry-certs DIR one for a registry";
            Some(format!(
                "the certificate is by an authority that is not known here: {own}; --insecure-registry HOST trusts anybody"
            ))
        }
        PortError::Unreachable { .. } if about.base => {
            let other = "--build-context NAME=oci-layout://DIR";
            Some(format!(
                "check the name and the network; an image from elsewhere can be given with {other}"
            ))
        }
        PortError::Unreachable { .. } => Some("check the name and the network, and try again".to_owned()),
        PortError::NotFound { .. } if about.push => {
            Some("the registry knows no such repository: some want it to be made before the first push".to_owned())
        }
        PortError::Protocol { detail, .. } if about.push && detail.contains("413") => {
            Some("send less at a time with --push-chunk-size, for example 50m".to_owned())
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
            "ERROR: failed to build: cannot write `/x`: no storage space\nhint: make room where it is written to, or write it elsewhere"
        );
    }

    #[test]
    fn what_fails_for_want_of_ids_calls_for_more() {
        let alone = Isolation::SingleId {
            user: "ann".to_owned(),
            lack: sandbox::Lack::NoMapper,
        };
        let failed = |report: &str| CommandError::failed("exit code: 1").report(report.to_owned());
        let refused = "chown: changing ownership of '/f': Invalid argument\n";
        let hint = failed(refused).under(&alone).hint.unwrap();
        assert!(
            hint.ends_with(
                "as root run `apt-get install uidmap` (Debian, Ubuntu) or `dnf install shadow-utils` (Fedora)"
            )
        );
        for other in [
            "no such file\n",
            "cc: error: Invalid argument\n",
            "mknod: /x: Operation not permitted\n",
        ] {
            let error = failed(other).under(&alone);
            assert_eq!((error.kind, error.hint), (Kind::Failed, None), "{other}");
        }
        assert_eq!(failed(refused).under(&Isolation::Root).hint, None);
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
