//! Contexts: the folders and images lent to a build, and what their ignore files leave out.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use frontend::{NamedContext, RemoteContext};
use graph::git::{GitAddress, GitAddressError};
use graph::{GitSource, HttpSource};
use oci::ImageName;

use super::small_file::{self, Unreadable};
use crate::elsewhere::{ContextPlace, FILE_NAME};
use crate::environment::Environment;
use crate::error::CommandError;

/// A main context as typed.
#[derive(Debug)]
pub(crate) enum Main {
    /// A folder.
    Folder(PathBuf),
    /// Something else.
    Elsewhere(ContextPlace),
}

/// What the positional argument names.
pub(crate) fn main(typed: &OsStr, environment: &Environment) -> Result<Main, CommandError> {
    let shown = typed.to_string_lossy();
    if shown == "-" {
        if environment.stdin_is_terminal {
            let message = "`-` reads the context from standard input, which is a terminal";
            return Err(CommandError::usage(message));
        }
        return Ok(Main::Elsewhere(ContextPlace::Stdin));
    }
    if !environment.absolute(Path::new(typed)).is_dir() {
        match remote(&shown).map_err(|error| CommandError::usage("failed to build").because(&error))? {
            None => {}
            Some(Remote::Git(source)) => return Ok(Main::Elsewhere(ContextPlace::Git(source))),
            Some(Remote::Http(url)) => return Ok(Main::Elsewhere(ContextPlace::Http(url))),
        }
    }
    directory(Path::new(typed), environment).map(Main::Folder)
}

/// The contexts of `--build-context`; folders are also noted in `folders`, under their names.
pub(crate) fn named(
    typed: &[(String, String)],
    environment: &Environment,
    folders: &mut HashMap<String, PathBuf>,
) -> Result<BTreeMap<String, NamedContext>, CommandError> {
    let mut contexts = BTreeMap::new();
    for (name, source) in typed {
        let refuse = |why: &str| CommandError::usage(format!("--build-context {name}={source}: {why}"));
        let plain_name = name.split("::").next().unwrap_or_default();
        if plain_name.eq_ignore_ascii_case("context") || plain_name.eq_ignore_ascii_case("scratch") {
            return Err(refuse("the name is taken"));
        }
        let is_folder = environment.absolute(Path::new(source)).is_dir();
        let elsewhere = remote(source).map_err(|error| refuse("invalid address").because(&error))?;
        let context = if let Some(elsewhere) = elsewhere.filter(|_| !is_folder) {
            NamedContext::Remote(match elsewhere {
                Remote::Git(source) => RemoteContext::Git(source),
                Remote::Http(url) => RemoteContext::Http(HttpSource {
                    url,
                    file_name: FILE_NAME.to_owned(),
                    checksum: None,
                }),
            })
        } else if let Some(image) = source.strip_prefix("docker-image://") {
            from_image(image).map_err(|error| refuse("invalid image").because(&error))?
        } else if source.starts_with("oci-layout://") {
            let layout = from_layout(source, environment);
            layout.map_err(|error| refuse("invalid layout").because(&error))?
        } else if source.starts_with("target:") || source.starts_with("input:") {
            return Err(refuse(
                "only bake has other targets as contexts, and bake is not supported yet",
            ));
        } else {
            let path = directory(Path::new(source), environment)?;
            let excludes = excludes(None, &path)?;
            folders.insert(name.clone(), path);
            NamedContext::Local {
                context: name.clone(),
                excludes,
            }
        };
        contexts.insert(name.clone(), context);
    }
    Ok(contexts)
}

/// The patterns of the ignore file of the Dockerfile's own, or else the one in the context.
pub(crate) fn excludes(own: Option<&Path>, context: &Path) -> Result<Vec<String>, CommandError> {
    let path = own.map_or_else(|| context.join(".dockerignore"), Path::to_owned);
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::usage(format!("failed to build: failed to read {}", path.display())).because(error)
    };
    match small_file::read(&path) {
        Ok(bytes) => frontend::ignore::parse(&bytes).map_err(|error| failed(&error)),
        Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(&error)),
    }
}

fn directory(path: &Path, environment: &Environment) -> Result<PathBuf, CommandError> {
    let refuse = |why: String| CommandError::usage(format!("failed to build: unable to prepare context: {why}"));
    let absolute = environment.absolute(path);
    match absolute.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(refuse(format!("context must be a directory: {}", path.display()))
            .hint("the context is the folder; name the Dockerfile with -f")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(refuse(format!("path {:?} not found", path.display().to_string())))
        }
        Err(error) => Err(refuse(path.display().to_string()).because(&error)),
    }
}

fn from_image(name: &str) -> Result<NamedContext, oci::Error> {
    if name == "scratch" {
        return Ok(NamedContext::Scratch);
    }
    Ok(NamedContext::Image(ImageName::Registry(name.parse()?)))
}

fn from_layout(location: &str, environment: &Environment) -> Result<NamedContext, oci::Error> {
    let (path, tag, digest) = oci::layout::parse_location(location)?;
    Ok(NamedContext::Image(ImageName::Layout {
        path: environment.absolute(&path),
        tag,
        digest,
    }))
}

/// A place elsewhere.
enum Remote {
    Git(GitSource),
    Http(String),
}

/// What place elsewhere a context names, if it does.
fn remote(source: &str) -> Result<Option<Remote>, GitAddressError> {
    if let Some(address) = GitAddress::parse(source)? {
        return Ok(Some(Remote::Git(address.source())));
    }
    let is_http = source.starts_with("http://") || source.starts_with("https://");
    Ok(is_http.then(|| Remote::Http(source.to_owned())))
}
