//! The world around the command, read once at the start: variables, terminals, the user, the working directory.
//!
//! Read before the process enters its namespaces, where everybody is root. Nothing else in the program looks at any of
//! these, so that a request is a function of its arguments.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// What the command finds around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: HashMap<OsString, OsString>,
    /// Absolute.
    pub(crate) directory: PathBuf,
    /// The effective user.
    pub(crate) uid: u32,
    /// A file of certificates that are trusted besides the system's: as typed, or as `RBUILD_CA_FILE` says.
    pub(crate) certificates: Option<PathBuf>,
    /// Whether data would be shown to a person.
    pub(crate) stdout_is_terminal: bool,
    /// Whether words are shown to a person.
    pub(crate) stderr_is_terminal: bool,
    /// Whether a person can answer.
    pub(crate) stdin_is_terminal: bool,
}

impl Environment {
    /// Reads it. A working directory that is gone has a name nevertheless: whoever needs a file in it is told that there is
    /// none, and who needs none is not bothered.
    pub(crate) fn read() -> Environment {
        Environment {
            variables: std::env::vars_os().collect(),
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/proc/self/cwd")),
            uid: rustix::process::geteuid().as_raw(),
            certificates: None,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            stdin_is_terminal: io::stdin().is_terminal(),
        }
    }

    /// A variable that is set, not empty, and text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.path(name)?.to_str()
    }

    /// A variable that is set and not empty.
    pub(crate) fn path(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// A variable that is set and text; it may be empty.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(OsStr::new(name))?.to_str()
    }

    /// A variable that is set, whatever is in it.
    pub(crate) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Where docker's configuration is, whether or not it exists.
    pub(crate) fn docker_config(&self) -> Option<PathBuf> {
        let directory = match self.path("DOCKER_CONFIG") {
            Some(directory) => self.absolute(Path::new(directory)),
            None => Path::new(self.path("HOME")?).join(".docker"),
        };
        Some(directory.join("config.json"))
    }

    /// The same path, from the root.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// An environment of which only variables matter.
    #[cfg(test)]
    pub(crate) fn of(directory: &Path, variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            directory: directory.to_owned(),
            uid: 1000,
            ..Environment::default()
        }
    }
}
