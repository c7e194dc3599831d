//! Why a build did not reach its target.

use std::path::PathBuf;
use std::time::Duration;

use graph::SourceLines;

use crate::files::FilesError;

/// Why the target was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("{source}")]
    Step {
        /// As progress shows it.
        name: String,
        /// The lines of the Dockerfile.
        lines: Option<SourceLines>,
        /// The file with all that its process wrote.
        log: Option<PathBuf>,
        /// What went wrong.
        source: Box<StepError>,
    },
    /// The user stopped the build.
    #[error("the build was cancelled")]
    Cancelled,
}

/// What went wrong in one step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A result elsewhere did not arrive in the time that may be spent on waiting for such.
    #[error("no more time is to be spent on waiting for results of other places")]
    NotWaitedFor,
    /// The process ended otherwise than with code 0.
    #[error("process {command:?} did not complete successfully: {ending}")]
    Process {
        /// The command, its words joined by blanks.
        command: String,
        /// `exit code: 2`, `killed by signal 9 (SIGKILL)`, …
        ending: String,
        /// The process's exit code, if it had one.
        code: Option<i32>,
    },
    /// The process was killed, because it had no more memory.
    #[error("process {command:?} did not complete successfully: {ending}")]
    OutOfMemory {
        /// The command, its words joined by blanks.
        command: String,
        /// Whose limit it was.
        ending: String,
    },
    /// The process was killed, because it took too long.
    #[error("process {command:?} was ended: it ran longer than {} (--step-timeout)", shown(*limit))]
    TimedOut {
        /// The command, its words joined by blanks.
        command: String,
        /// How long it might have run.
        limit: Duration,
    },
    /// The process could not be started.
    #[error("process {command:?} could not be started: {source}")]
    Start {
        /// The command, its words joined by blanks.
        command: String,
        /// Why not.
        source: sandbox::Error,
    },
    /// What a step reads is not there, or cannot be read: its key cannot be worked out.
    #[error("failed to compute cache key: failed to calculate checksum of ref {tree}: {source}")]
    Checksum {
        /// The context, or the step whose result is read.
        tree: String,
        /// Why not.
        #[source]
        source: FilesError,
    },
    /// Files could not be read, selected or copied.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cache::Error),
    /// An image could not be had.
    #[error(transparent)]
    Image(#[from] oci::PortError),
    /// An image is not what the graph was made for.
    #[error("{name}: the manifest is now {found}, the build was planned with {planned}; build again")]
    ImageChanged {
        /// The image.
        name: String,
        /// The digest the graph holds.
        planned: oci::Digest,
        /// The digest that came.
        found: oci::Digest,
    },
    /// An image's configuration and manifest contradict each other.
    #[error("{name}: the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// The image.
        name: String,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A blob of the store could not be opened.
    #[error("cannot open blob `{path}`")]
    Blob {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or a repository from elsewhere could not be had.
    #[error(transparent)]
    Remote(crate::remotes::RemoteError),
    /// The graph names a context that the session lacks.
    #[error("no context named `{0}` was given")]
    NoContext(String),
    /// A mount wants a path of an empty tree.
    #[error("failed to mount {path:?}: no such file or directory in an empty tree")]
    NothingToMount {
        /// The path.
        path: String,
    },
    /// A mount wants a path of what a step keeps, where nobody made it.
    #[error(
        "failed to mount {path:?} of the cache mount `{id}`: no such file or directory; a step that mounts the whole of it \
         has to make it first"
    )]
    NothingInCache {
        /// The cache's.
        id: String,
        /// The path.
        path: String,
    },
    /// A secret that a step cannot do without is not lent.
    #[error("secret {id}: not found")]
    NoSecret {
        /// Its name.
        id: String,
    },
    /// The file of a secret could not be read.
    #[error("cannot read secret {id} from `{path}`")]
    SecretFile {
        /// Its name.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A secret is larger than secrets are.
    #[error("invalid secret size for {id}: more than 500KB")]
    SecretTooLarge {
        /// Its name.
        id: String,
    },
    /// A secret cannot be the value of a variable.
    #[error("secret {id} cannot be put into the variable {variable}: it is no text")]
    SecretNotText {
        /// Its name.
        id: String,
        /// The variable.
        variable: String,
    },
    /// An SSH agent that a step cannot do without is not lent.
    #[error("no SSH key {id:?} forwarded from the client")]
    NoAgent {
        /// Its name.
        id: String,
    },
    /// An SSH agent could not be lent.
    #[error("cannot lend the SSH agent {id:?}")]
    Agent {
        /// Its name.
        id: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The log of a step could not be written.
    #[error("cannot write the log `{path}`")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The build was stopped while the step ran.
    #[error("the build was cancelled")]
    Cancelled,
}

/// `90s`, `1h30m`: in whole seconds, as limits are given.
#[must_use]
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let parts = units.into_iter().filter(|(count, _)| *count > 0);
    let text: String = parts.map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent error says the same as its cause.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
