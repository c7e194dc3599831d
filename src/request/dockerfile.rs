//! Finding and reading the Dockerfile, and the ignore file that belongs to it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::small_file::{self, Unreadable};
use crate::elsewhere::DockerfilePlace;
use crate::environment::Environment;
use crate::error::CommandError;

/// A Dockerfile, read.
#[derive(Debug)]
pub(crate) struct DockerfileText {
    /// As excerpts name it.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) text: Vec<u8>,
    /// The ignore file beside it that takes the place of the context's, if there is one.
    pub(crate) ignore_file: Option<PathBuf>,
}

impl DockerfileText {
    /// Text that was in no file.
    pub(crate) fn unnamed(text: Vec<u8>) -> DockerfileText {
        DockerfileText {
            name: "Dockerfile".to_owned(),
            text,
            ignore_file: None,
        }
    }
}

/// Where the Dockerfile is that `asked` names, if it is not in the `context` directory or elsewhere here.
pub(crate) fn place(asked: Option<&Path>, has_directory: bool) -> Option<DockerfilePlace> {
    match asked {
        Some(path) if path == Path::new("-") => None,
        Some(path) if is_url(path) => Some(DockerfilePlace::Url(path.display().to_string())),
        _ if has_directory => None,
        Some(path) => Some(DockerfilePlace::Context(Some(path.display().to_string()))),
        None => Some(DockerfilePlace::Context(None)),
    }
}

/// Reads the Dockerfile that `asked` names, by default that of the `context`.
pub(crate) fn read(
    asked: Option<&Path>,
    context: &Path,
    environment: &Environment,
) -> Result<DockerfileText, CommandError> {
    match asked {
        Some(path) if path == Path::new("-") => from_stdin(environment),
        Some(path) => {
            let absolute = environment.absolute(path);
            taken(small_file::read_named(&absolute), &absolute, path.display().to_string())
        }
        None => from_context(context),
    }
}

pub(crate) fn from_stdin(environment: &Environment) -> Result<DockerfileText, CommandError> {
    if environment.stdin_is_terminal {
        return Err(CommandError::usage(
            "-f - reads the Dockerfile from standard input, which is a terminal",
        ));
    }
    let text = small_file::read_to_end(io::stdin().lock());
    let failed = |error| CommandError::failed("failed to read dockerfile from standard input").because(&error);
    Ok(DockerfileText::unnamed(text.map_err(failed)?))
}

/// `Dockerfile`, or `dockerfile` where only that is there.
fn from_context(context: &Path) -> Result<DockerfileText, CommandError> {
    let lower = context.join("dockerfile");
    let path = context.join("Dockerfile");
    if !path.exists() && lower.exists() {
        return taken(small_file::read(&lower), &lower, "dockerfile".to_owned());
    }
    taken(small_file::read(&path), &path, "Dockerfile".to_owned())
}

fn taken(read: Result<Vec<u8>, Unreadable>, path: &Path, name: String) -> Result<DockerfileText, CommandError> {
    match read {
        Ok(text) => Ok(DockerfileText {
            name,
            text,
            ignore_file: own_ignore_file(path),
        }),
        Err(error) => {
            let failure = CommandError::usage(format!(
                "failed to build: failed to read dockerfile: open {name}: {}",
                cause(&error)
            ));
            if !matches!(error, Unreadable::Io(_)) {
                return Err(failure.hint("a Dockerfile is a file of text; one that is elsewhere is named with -f"));
            }
            Err(match nearby(path) {
                Some(other) => failure.hint(format!("there is {}: give its path with -f", other.display())),
                None => {
                    failure.hint("give the path of the Dockerfile with -f; it is relative to the current directory")
                }
            })
        }
    }
}

/// In the words of Go, which people search for.
fn cause(error: &Unreadable) -> String {
    let Unreadable::Io(error) = error else {
        return error.to_string();
    };
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn own_ignore_file(dockerfile: &Path) -> Option<PathBuf> {
    let mut path = OsString::from(dockerfile);
    path.push(".dockerignore");
    let path = PathBuf::from(path);
    path.is_file().then_some(path)
}

/// A file beside the missing one that may have been meant.
fn nearby(missing: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(missing.parent()?).ok()?;
    let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    names.retain(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        let is_like_one = name.contains("dockerfile") || name.contains("containerfile");
        is_like_one && !name.ends_with(".dockerignore") && path.is_file()
    });
    names.sort();
    names.into_iter().next()
}

fn is_url(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    text.starts_with(b"http://") || text.starts_with(b"https://")
}
