//! Images handed to the docker or podman of this machine: the `load` of either reads an archive from its standard input.
//!
//! The loader must belong to the world outside: in a build's user namespace podman would take itself for root's and load
//! into a store that nobody sees. So a process is left outside before the build enters its namespaces. It waits for the
//! first byte and only then becomes the loader; a build that fails closes the pipe and the process ends without a word.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};

use crate::environment::Environment;
use crate::error::CommandError;

/// What can load, in the order of preference.
const PROGRAMS: [&str; 2] = ["docker", "podman"];

/// A process that waits to load an image.
#[derive(Debug)]
pub(crate) struct Loader {
    program: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Loader {
    /// Leaves a process outside. To be called before namespaces are entered.
    ///
    /// # Errors
    /// When there is no program to load images.
    pub(crate) fn start(environment: &Environment) -> Result<Loader, CommandError> {
        let program = environment.path("PATH").and_then(installed).ok_or_else(|| {
            CommandError::usage("--load needs docker or podman, and neither is in PATH")
                .hint("write an archive with -o type=docker,dest=FILE")
        })?;
        let failed =
            |error: &io::Error| CommandError::failed("cannot start the process that loads the image").because(error);
        let words_to = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| failed(&error))?;
        let child = Command::new("/proc/self/exe")
            .args(["debug", "load-when-ready"])
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(words_to)
            .spawn();
        let child = child.map_err(|error| failed(&error))?;
        Ok(Loader {
            program,
            child: Mutex::new(Some(child)),
        })
    }

    fn failed(&self, why: &str) -> CommandError {
        CommandError::failed(format!(
            "failed to load the image with {}: {why}",
            self.program.display()
        ))
    }
}

/// Lets `write` write the archive to the waiting process and waits for its end.
///
/// # Errors
/// When writing fails, or the loader does.
pub(crate) fn send(
    loader: Option<&Loader>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), export::Error>,
) -> Result<(), CommandError> {
    let loader = loader.ok_or_else(|| CommandError::failed("no process waits to load the image"))?;
    let child = loader.child.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut child = child.ok_or_else(|| loader.failed("only one output can be loaded"))?;
    let pipe = child.stdin.take().ok_or_else(|| loader.failed("its input is closed"))?;
    let mut pipe = BufWriter::with_capacity(1 << 20, pipe);
    let written = write(&mut pipe);
    let flushed = pipe.flush();
    // The loader reads to the end: the pipe must be closed before it is waited for.
    drop(pipe);
    let status = child
        .wait()
        .map_err(|error| loader.failed("it is gone").because(&error))?;
    // A loader that fails closes the pipe: its own words, on the terminal already, are the reason.
    if !status.success() {
        return Err(loader.failed(&status.to_string()));
    }
    written.map_err(|error| loader.failed("the archive cannot be written").because(&error))?;
    flushed.map_err(|error| loader.failed("the archive cannot be written").because(&error))
}

/// In the process left outside: waits for something to read, then becomes `program load`. Nothing to read, ever, is the
/// end of a build that failed.
///
/// # Errors
/// When the program cannot be started.
pub(crate) fn wait_and_become(program: &Path) -> Result<ExitCode, CommandError> {
    let stdin = io::stdin();
    let has_data = loop {
        let mut events = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut events, None) {
            Ok(_) => break events[0].revents().contains(PollFlags::IN),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(CommandError::failed("cannot wait for the image").because(&error)),
        }
    };
    if !has_data {
        return Ok(ExitCode::SUCCESS);
    }
    let error = Command::new(program).arg("load").exec();
    Err(CommandError::failed(format!("cannot run {}", program.display())).because(&error))
}

/// The first of the programs that is in one of the folders of `search`.
fn installed(search: &OsStr) -> Option<PathBuf> {
    let find = |name: &&str| {
        let paths = std::env::split_paths(search).map(|folder| folder.join(name));
        paths.into_iter().find(|path| is_executable(path))
    };
    PROGRAMS.iter().find_map(find)
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
