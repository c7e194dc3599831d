//! What of a request is neither a directory nor a file: fetched before planning, because the Dockerfile may be in it.
//!
//! A context from elsewhere is a vertex like any other. It is solved here alone, for the Dockerfile in it, and once more
//! with the build, which finds it done. An archive on standard input becomes a blob of the store and is named by its
//! digest. What `SOURCE_DATE_EPOCH` names, if it is no number, is asked for its time.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use cache::Store;
use frontend::{EpochSource, MainContext, RemoteContext};
use graph::{Builder, Definition, GitSource, HttpSource, Metadata, Op};
use oci::Digest;
use sandbox::Cancel;
use solver::{Reporter, ResultTree, Session, Solver, files};

use crate::build;
use crate::commands::Setting;
use crate::error::CommandError;
use crate::remotes::{Remotes, url_of_blob};
use crate::request::small_file::{self, Unreadable};
use crate::request::{BuildRequest, DockerfileText};

/// What the one file of a context of a web server is called.
pub(crate) const FILE_NAME: &str = "context";

const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What has to be fetched before there can be a plan.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// The main context, if it is not a directory.
    pub(crate) context: Option<ContextPlace>,
    /// The Dockerfile, if it has not been read.
    pub(crate) dockerfile: Option<DockerfilePlace>,
}

/// Where a main context is that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContextPlace {
    /// On standard input, as an archive; or no context and the Dockerfile there.
    Stdin,
    /// In a git repository.
    Git(GitSource),
    /// On a web server, as an archive; or no context and the Dockerfile there.
    Http(String),
}

/// Where a Dockerfile is that has not been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerfilePlace {
    /// In the context; `None` is its usual name.
    Context(Option<String>),
    /// On a web server.
    Url(String),
}

/// Fetches what has to be, so that the request can be planned.
///
/// # Errors
/// What could not be had.
pub(crate) async fn complete(
    mut request: BuildRequest,
    setting: &Setting,
    reporter: &Reporter,
    cancel: &Cancel,
) -> Result<BuildRequest, CommandError> {
    let place = std::mem::take(&mut request.elsewhere);
    let reach = Reach {
        setting,
        reporter,
        cancel,
    };
    let mut is_dockerfile = false;
    match place.context {
        None => {}
        Some(ContextPlace::Stdin) => is_dockerfile = reach.stdin(&mut request)?,
        Some(ContextPlace::Git(mut source)) => {
            let keep = request.options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
            source.keep_git_dir |= keep.is_some_and(|text| text.parse() == Ok(true) || text == "1");
            request.options.main_context = MainContext::Remote(RemoteContext::Git(source));
        }
        Some(ContextPlace::Http(url)) => is_dockerfile = reach.http(&mut request, url).await?,
    }
    match place.dockerfile {
        Some(DockerfilePlace::Url(url)) => request.dockerfile = reach.dockerfile_of_url(&request, &url).await?,
        Some(DockerfilePlace::Context(name)) if !is_dockerfile => {
            let files = frontend::context_definition(&request.options);
            let mounted = reach.tree(&request, files).await?;
            request.dockerfile = dockerfile_in(mounted.path(), name.as_deref())?;
        }
        Some(DockerfilePlace::Context(_)) | None => {}
    }
    reach.find_epoch(&mut request).await?;
    Ok(request)
}

/// Files that can be read as long as this is there. What comes first goes first.
struct Shown {
    tree: cache::Tree,
    /// What an empty tree is of.
    _empty: Option<cache::ActiveSnapshot>,
}

impl Shown {
    fn path(&self) -> &Path {
        self.tree.path()
    }
}

/// What is needed to reach anything.
struct Reach<'a> {
    setting: &'a Setting,
    reporter: &'a Reporter,
    cancel: &'a Cancel,
}

impl Reach<'_> {
    fn store(&self) -> Result<Store, CommandError> {
        let store = self.setting.open_store();
        store.map_err(|error| CommandError::failed("failed to build").because(&error))
    }

    fn session(request: &BuildRequest) -> Session {
        Session {
            contexts: request.contexts.clone(),
            secrets: request.secrets.clone(),
            agents: request.agents.clone(),
        }
    }

    fn remotes(&self, request: &BuildRequest, store: &Store) -> Result<Remotes, CommandError> {
        let (session, cancel) = (Reach::session(request), self.cancel.clone());
        let environment = &self.setting.environment;
        let remotes = Remotes::new(store.clone(), session, cancel, environment, request.heard.clone());
        let remotes = remotes.trusting(self.setting.bundle(store)?);
        Ok(remotes.under(build::policy(request)?))
    }

    /// The files that `definition` makes, shown.
    async fn tree(&self, request: &BuildRequest, definition: Definition) -> Result<Shown, CommandError> {
        let store = self.store()?;
        let solver = Solver {
            build: build::name_of_build(),
            store: store.clone(),
            images: build::images(request, self.setting, &store, self.reporter)?,
            remotes: Arc::new(self.remotes(request, &store)?),
            executor: sandbox::executor(&self.setting.isolation),
            session: Reach::session(request),
            reporter: self.reporter.clone(),
            cancel: self.cancel.clone(),
            imports: None,
            leave: None,
            finished: None,
            before_run: None,
            step_timeout: None,
            certificates: None,
            resources: sandbox::Resources::default(),
            max_parallelism: None,
        };
        let solved = solver.solve(definition).await;
        let mut solved = solved.map_err(|error| build::build_failed(&error))?;
        let failed = |error| CommandError::failed("failed to build").because(&error);
        match solved.trees.pop().flatten() {
            Some(ResultTree::Here(snapshot)) => Ok(Shown {
                tree: snapshot.mount(&store).map_err(failed)?,
                _empty: None,
            }),
            // Without imports nothing is there.
            Some(ResultTree::There(_)) | None => {
                let empty = store.prepare(None).map_err(failed)?;
                Ok(Shown {
                    tree: empty.mount().map_err(failed)?,
                    _empty: Some(empty),
                })
            }
        }
    }

    /// Takes standard input for the context, or for the Dockerfile if it is no archive; whether it is that.
    fn stdin(&self, request: &mut BuildRequest) -> Result<bool, CommandError> {
        let step = self.reporter.start("[internal] load remote build context");
        let failed =
            |error: io::Error| CommandError::failed("failed to read the context from standard input").because(&error);
        let store = self.store()?;
        let kept = |error| CommandError::failed("failed to keep the context").because(&error);
        let mut writer = store.blob_writer().map_err(kept)?;
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match stdin.read(&mut buffer).map_err(failed)? {
                0 => break,
                _ if self.cancel.is_cancelled() => return Err(CommandError::cancelled()),
                count => writer.write_all(&buffer[..count]).map_err(failed)?,
            }
        }
        let blob = writer.finish().map_err(kept)?;
        step.done();
        if files::is_archive_file(&blob.path).map_err(failed)? {
            request.options.main_context = MainContext::Archive(of_blob(blob.digest));
            return Ok(false);
        }
        if matches!(request.typed_file.as_deref(), Some(name) if !name.is_empty()) {
            let message = "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles";
            return Err(CommandError::usage(message));
        }
        let file = std::fs::File::open(&blob.path).map_err(failed)?;
        let too_large = |error| CommandError::usage("failed to read dockerfile from standard input").because(&error);
        let text = small_file::read_to_end(file).map_err(too_large)?;
        request.dockerfile = DockerfileText::unnamed(text);
        request.options.main_context = MainContext::Empty;
        Ok(true)
    }

    /// Takes a file of a web server for the context, or for the Dockerfile if it is no archive; whether it is that.
    async fn http(&self, request: &mut BuildRequest, url: String) -> Result<bool, CommandError> {
        let source = HttpSource {
            url,
            file_name: FILE_NAME.to_owned(),
            checksum: None,
        };
        let mut builder = Builder::new();
        let metadata = Metadata {
            name: "[internal] load remote build context".to_owned(),
            ..Metadata::default()
        };
        let file = builder.add(Op::Http(source.clone()), Vec::new(), metadata);
        let mounted = self.tree(request, builder.finish(Some(file))).await?;
        let failed = |error: io::Error| CommandError::failed("failed to read downloaded context").because(&error);
        if files::is_archive_file(&mounted.path().join(FILE_NAME)).map_err(failed)? {
            request.options.main_context = MainContext::Archive(source);
            return Ok(false);
        }
        let text = read(mounted.path(), FILE_NAME)?.unwrap_or_default();
        request.options.main_context = MainContext::Remote(RemoteContext::Http(source));
        // A Dockerfile from standard input or from another address counts more.
        if request.dockerfile.text.is_empty() {
            request.dockerfile = DockerfileText::unnamed(text);
        }
        Ok(true)
    }

    async fn dockerfile_of_url(&self, request: &BuildRequest, url: &str) -> Result<DockerfileText, CommandError> {
        let store = self.store()?;
        let remotes = self.remotes(request, &store)?;
        let step = self.reporter.start(format!("[internal] load remote Dockerfile {url}"));
        let fetched = async {
            let path = remotes.content(&remotes.file(url, &step).await?)?;
            Ok(small_file::read_to_end(std::fs::File::open(path)?)?)
        };
        let text = fetched.await.map_err(|error: solver::RemoteError| {
            CommandError::failed(format!("failed to read dockerfile from {url}")).because(&*error)
        })?;
        step.done();
        Ok(DockerfileText::unnamed(text))
    }

    /// Puts the time that `SOURCE_DATE_EPOCH` names in its place.
    async fn find_epoch(&self, request: &mut BuildRequest) -> Result<(), CommandError> {
        let named = frontend::epoch_source(&request.dockerfile.text, &request.options);
        let named = named.map_err(|error| {
            build::refused(
                request,
                &frontend::Error::from(error),
                "failed to build: failed to solve",
            )
        })?;
        let Some(source) = named else { return Ok(()) };
        let time = match source {
            EpochSource::Timeless => None,
            source => self.time_of(request, source).await?,
        };
        let text = time.map(|time| time.to_string()).unwrap_or_default();
        request.options.build_args.insert(EPOCH.to_owned(), text);
        Ok(())
    }

    async fn time_of(&self, request: &BuildRequest, source: EpochSource) -> Result<Option<i64>, CommandError> {
        let store = self.store()?;
        let remotes = self.remotes(request, &store)?;
        let step = self.reporter.start(format!("[internal] resolve {EPOCH}"));
        let found = async {
            Ok(match source {
                EpochSource::Timeless => None,
                EpochSource::Git(git) => Some(remotes.commit_time(&git).await?),
                EpochSource::Http(http) => {
                    let file = remotes.file(&http.url, &step).await?;
                    match file.last_modified {
                        Some(time) => Some(time),
                        None => files::newest_in_archive(&remotes.content(&file)?)?,
                    }
                }
            })
        };
        let time = found
            .await
            .map_err(|error: solver::RemoteError| CommandError::failed("failed to build").because(&*error))?;
        step.done();
        Ok(time)
    }
}

fn of_blob(digest: Digest) -> HttpSource {
    HttpSource {
        url: url_of_blob(digest),
        file_name: FILE_NAME.to_owned(),
        checksum: Some(digest),
    }
}

fn read(root: &std::path::Path, name: &str) -> Result<Option<Vec<u8>>, CommandError> {
    let failed = || CommandError::failed(format!("failed to read dockerfile: open {name}"));
    let text = files::read_file(root, name, small_file::LARGEST + 1).map_err(|error| failed().because(&error))?;
    match text {
        Some(text) if text.len() as u64 > small_file::LARGEST => Err(failed().because(&Unreadable::TooLarge)),
        text => Ok(text),
    }
}

/// The Dockerfile of a context: that of the name, or `Dockerfile`, or `dockerfile` where only that is there.
fn dockerfile_in(root: &std::path::Path, name: Option<&str>) -> Result<DockerfileText, CommandError> {
    let names = match name {
        Some(name) => vec![name],
        None => vec!["Dockerfile", "dockerfile"],
    };
    for name in &names {
        if let Some(text) = read(root, name)? {
            let mut found = DockerfileText::unnamed(text);
            (*name).clone_into(&mut found.name);
            return Ok(found);
        }
    }
    let message = "failed to build: failed to solve: failed to read dockerfile: open";
    Err(
        CommandError::failed(format!("{message} {}: no such file or directory", names[0]))
            .hint("give the path of the Dockerfile with -f; it is relative to the context"),
    )
}
