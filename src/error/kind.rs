//! What kind of failure it is, which is the exit code: who may have to do something about it.
//!
//! A pipeline asks one question of a failure: is it the author's, the network's or the machine's? Libraries name what went
//! wrong; the first cause in a chain that says whose it is decides.

use std::error::Error;
use std::io;

use oci::PortError;
use solver::StepError;

use crate::policy::PolicyError;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The user's step failed, or the build cannot be done as it is written.
    Failed,
    /// What is asked for cannot be understood or done.
    Usage,
    /// A registry, a cache or another source did not give or take something.
    Elsewhere,
    /// The machine lacks a capability.
    Machine,
    /// There is no room, or a limit or a policy forbids it.
    Limit,
    /// It took too long.
    TimedOut,
    /// The user stopped it.
    Cancelled,
    /// It was asked to terminate.
    Terminated,
    /// `rbuild run` did not get to start the program.
    BeforeRun,
    /// The program of `rbuild run` cannot be run.
    NotExecutable,
    /// The program of `rbuild run` is not there.
    NoSuchProgram,
}

impl Kind {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Elsewhere => 3,
            Kind::Machine => 4,
            Kind::Limit => 5,
            Kind::TimedOut => 124,
            Kind::BeforeRun => 125,
            Kind::NotExecutable => 126,
            Kind::NoSuchProgram => 127,
            Kind::Cancelled => 130,
            Kind::Terminated => 143,
        }
    }

    /// The kind that one cause of a failure tells of, if it does.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Kind> {
        if let Some(error) = error.downcast_ref::<StepError>() {
            return of_step(error);
        }
        if let Some(error) = error.downcast_ref::<sandbox::Error>() {
            return of_sandbox(error);
        }
        if let Some(error) = port(error) {
            return of_port(error);
        }
        if let Some(error) = error.downcast_ref::<cache::Error>() {
            return of_store(error);
        }
        if let Some(export::Error::Store(error)) = error.downcast_ref() {
            return of_store(error);
        }
        if let Some(error) = error.downcast_ref::<frontend::Error>() {
            return match error {
                frontend::Error::Dockerfile(_) => Some(Kind::Usage),
                frontend::Error::Image { .. } => None,
            };
        }
        of_source(error).or_else(|| of_io(error.downcast_ref()?))
    }
}

/// What a port said, which other errors hold in a box.
pub(super) fn port<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a PortError> {
    let boxed = || error.downcast_ref::<Box<PortError>>().map(|error| &**error);
    error.downcast_ref().or_else(boxed)
}

fn of_step(error: &StepError) -> Option<Kind> {
    match error {
        StepError::Store(error) => of_store(error),
        StepError::Image(error) => of_port(error),
        StepError::Remote(error) => Some(of_source(&**error).unwrap_or(Kind::Failed)),
        StepError::OutOfMemory { .. } => Some(Kind::Limit),
        StepError::TimedOut { .. } => Some(Kind::TimedOut),
        _ => None,
    }
}

fn of_port(error: &PortError) -> Option<Kind> {
    match error {
        PortError::Forbidden { .. } => Some(Kind::Limit),
        // A layout is a folder that the user named.
        PortError::NotFound { name }
        | PortError::Denied { name, .. }
        | PortError::Protocol { name, .. }
        | PortError::Content { name, .. }
            if name.starts_with("oci-layout:") =>
        {
            None
        }
        _ => Some(Kind::Elsewhere),
    }
}

fn of_store(error: &cache::Error) -> Option<Kind> {
    match error {
        cache::Error::NoRoom { .. } | cache::Error::IndexFull { .. } => Some(Kind::Limit),
        cache::Error::Mount { .. } => Some(Kind::Machine),
        // Layers come from elsewhere.
        cache::Error::LayerStream { source, .. } => Some(of_io(source).unwrap_or(Kind::Elsewhere)),
        cache::Error::Io { source, .. } => of_io(source),
        _ => None,
    }
}

/// What a step cannot have here, as far as another machine or another user could.
fn of_sandbox(error: &sandbox::Error) -> Option<Kind> {
    use sandbox::Error;
    match error {
        Error::MapperMissing { .. }
        | Error::MapRefused { .. }
        | Error::PowerlessRoot { .. }
        | Error::UserNamespaceForbidden { .. }
        | Error::Isolate { .. }
        | Error::Unmapped { .. }
        | Error::UnenforceableLimit { .. }
        | Error::NeedsNamespaces { .. }
        | Error::NotPlain { .. } => Some(Kind::Machine),
        Error::Program { message } if message.ends_with("exec format error") => Some(Kind::Machine),
        _ => None,
    }
}

/// Of web servers and repositories.
fn of_source(error: &(dyn Error + 'static)) -> Option<Kind> {
    if error.is::<PolicyError>() {
        return Some(Kind::Limit);
    }
    if let Some(error) = error.downcast_ref::<remote::http::Error>() {
        return match error {
            remote::http::Error::Address { .. } => None,
            _ => Some(Kind::Elsewhere),
        };
    }
    if let Some(error) = error.downcast_ref::<remote::git::Error>() {
        use remote::git::Error;
        return match error {
            Error::NoProgram(_) | Error::Start(_) => Some(Kind::Machine),
            Error::Failed { .. } | Error::NoReference(_) | Error::NoDefaultBranch(_) => Some(Kind::Elsewhere),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<cache::Error>() {
        return of_store(error);
    }
    of_io(error.downcast_ref()?)
}

fn of_io(error: &io::Error) -> Option<Kind> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Kind::Limit),
        _ => None,
    }
}
