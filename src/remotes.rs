//! Files of web servers and git repositories, for the solver: what was fetched before, and with which secrets.
//!
//! A file is kept as a blob of the store; beside it stands what the server said of it, so that the next build can ask
//! whether it has changed. Repositories are not kept: the tree of a commit is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cache::Store;
use graph::{Encode, Encoder, GitSource, HttpSource};
use oci::{BoxFuture, Digest};
use remote::git::{self, Found, Places, Program};
use remote::http::{self, Answer, Request};
use sandbox::Cancel;
use serde::{Deserialize, Serialize};
use solver::{Identity, Landing, RemoteError, RemoteSource, Session, Step};
use tokio::sync::OnceCell;

use crate::environment::Environment;
use crate::policy::{Policy, Source};
use crate::trust::Bundle;

/// Variables that git may see.
const FOR_GIT: [&str; 14] = [
    "PATH",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "TMPDIR",
];

/// Who we say we are. Servers that treat builders in a way of their own know the second name.
const USER_AGENT: &str = concat!("rbuild/", env!("CARGO_PKG_VERSION"), " (like buildkit/v0.26)");

/// The scheme of what was given on standard input: a blob of the store.
const BLOB: &str = "blob:";

/// The address of a blob of the store, for sources that are files.
pub(crate) fn url_of_blob(digest: Digest) -> String {
    format!("{BLOB}{digest}")
}

/// Reaches web servers and git repositories.
pub(crate) struct Remotes {
    store: Store,
    session: Session,
    cancel: Cancel,
    program: Program,
    client: OnceCell<http::Client>,
    heard: Heard,
    policy: Option<Policy>,
    /// What is trusted besides what the system trusts.
    certificates: Option<PathBuf>,
    /// The same and the system's in one file, for git.
    _bundle: Option<Arc<Bundle>>,
}

/// What servers and repositories have said. It holds for the rest of the build, so that what is planned is what is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    files: Arc<Answers<WebFile>>,
    commits: Arc<Answers<Found>>,
}

/// Answers that hold for the rest of the build.
type Answers<T> = Mutex<HashMap<Digest, Arc<OnceCell<T>>>>;

/// A file that was fetched, as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebFile {
    url: String,
    entity_tag: Option<String>,
    /// In seconds since 1970.
    pub(crate) last_modified: Option<i64>,
    digest: String,
}

/// Whether the file at `path` is a note of what a server said, and whole.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn is_note(path: &Path) -> std::io::Result<bool> {
    let bytes = std::fs::read(path)?;
    Ok(serde_json::from_slice::<WebFile>(&bytes).is_ok_and(|file| file.digest.parse::<Digest>().is_ok()))
}

/// Why a source could not be had, where it is not the network's fault.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("digest mismatch for {url}: {found} (expected: {expected})")]
    Checksum {
        url: String,
        found: String,
        expected: Digest,
    },
    #[error("{0:?} cannot be the name of a file")]
    FileName(String),
    #[error("the store lost {0}")]
    Lost(String),
    #[error("source {0:?}: the policy's conversion to {1:?} is not supported yet")]
    Converted(String, String),
    #[error("the build was cancelled")]
    Cancelled,
}

impl Remotes {
    /// Sources for one build.
    pub(crate) fn new(
        store: Store,
        session: Session,
        cancel: Cancel,
        environment: &Environment,
        heard: Heard,
    ) -> Remotes {
        let variable = |name: &&str| Some(((*name).into(), environment.path(name)?.to_owned()));
        let stop = cancel.clone();
        Remotes {
            store,
            session,
            program: Program {
                variables: FOR_GIT.iter().filter_map(variable).collect(),
                known_hosts: environment
                    .path("HOME")
                    .map(|home| Path::new(home).join(".ssh/known_hosts")),
                cancelled: Arc::new(move || stop.is_cancelled()),
            },
            cancel,
            client: OnceCell::new(),
            heard,
            policy: None,
            certificates: environment.certificates.clone(),
            _bundle: None,
        }
    }

    /// The same sources, of which git trusts what is in `bundle`.
    pub(crate) fn trusting(mut self, bundle: Option<Arc<Bundle>>) -> Remotes {
        if let Some(bundle) = &bundle {
            let variables = &mut self.program.variables;
            variables.retain(|(name, _)| name != "GIT_SSL_CAINFO");
            variables.push(("GIT_SSL_CAINFO".into(), bundle.path().into()));
        }
        Remotes {
            _bundle: bundle,
            ..self
        }
    }

    /// The same sources, as far as `policy` allows them.
    pub(crate) fn under(self, policy: Option<Policy>) -> Remotes {
        Remotes { policy, ..self }
    }

    /// What the policy has in the place of a source: most often itself.
    fn allowed(&self, identifier: &str) -> Result<String, RemoteError> {
        let Some(policy) = &self.policy else {
            return Ok(identifier.to_owned());
        };
        let asked = Source {
            identifier: identifier.to_owned(),
            attributes: BTreeMap::new(),
        };
        let used = policy.apply(&asked)?;
        let same_kind = |scheme: &str| identifier.starts_with(scheme) && used.identifier.starts_with(scheme);
        if used == asked || same_kind("http") && used.attributes.is_empty() {
            return Ok(used.identifier);
        }
        Err(Error::Converted(asked.identifier, used.identifier).into())
    }

    /// The file at an address, fetched if it is not there or has changed.
    pub(crate) async fn file(&self, url: &str, progress: &Step) -> Result<WebFile, RemoteError> {
        let answer = answer(&self.heard.files, Digest::of(url.as_bytes()));
        let url = self.allowed(url)?;
        answer.get_or_try_init(|| self.ask(&url, progress)).await.cloned()
    }

    /// Where the content of a file is.
    pub(crate) fn content(&self, file: &WebFile) -> Result<PathBuf, RemoteError> {
        let digest: Digest = file.digest.parse()?;
        let blob = self.store.blob(&digest)?;
        Ok(blob.ok_or_else(|| Error::Lost(file.digest.clone()))?.path)
    }

    /// What the reference of a source leads to.
    async fn commit(&self, source: &GitSource) -> Result<Found, RemoteError> {
        self.allowed(&identifier(source))?;
        let mut encoder = Encoder::new("git");
        source.encode(&mut encoder);
        let answer = answer(&self.heard.commits, encoder.finish());
        let find = || async {
            let (program, source) = (self.program.clone(), self.repository(source)?);
            let scratch = self.store.scratch()?;
            blocking(move || Ok(git::find(&program, &source, scratch.path())?)).await
        };
        answer.get_or_try_init(find).await.cloned()
    }

    /// When the commit of a source was made, in seconds since 1970.
    pub(crate) async fn commit_time(&self, source: &GitSource) -> Result<i64, RemoteError> {
        let found = self.commit(source).await?;
        let (program, source) = (self.program.clone(), self.repository(source)?);
        let scratch = self.store.scratch()?;
        blocking(move || Ok(git::commit_time(&program, &source, &found, scratch.path())?)).await
    }

    async fn ask(&self, url: &str, progress: &Step) -> Result<WebFile, RemoteError> {
        if let Some(digest) = url.strip_prefix(BLOB) {
            return Ok(WebFile {
                url: url.to_owned(),
                entity_tag: None,
                last_modified: None,
                digest: digest.to_owned(),
            });
        }
        let note = self
            .store
            .stat_cache_path(&format!("http-{}", Digest::of(url.as_bytes()).hex()));
        let known: Option<WebFile> = std::fs::read(&note)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // What the store lost has to be sent again.
        let known = known.filter(|file| file.url == url && self.content(file).is_ok());
        let client = self
            .client
            .get_or_try_init(|| async { http::Client::new(USER_AGENT, self.certificates.as_deref()) })
            .await?;
        let request = Request {
            url: url.to_owned(),
            known: known.as_ref().and_then(|file| file.entity_tag.clone()),
            authorization: self.authorization_of_host(url)?,
        };
        match (client.get(&request).await?, known) {
            (Answer::Unchanged, Some(known)) => Ok(known),
            (Answer::Unchanged, None) => Err(Error::Lost(url.to_owned()).into()),
            (Answer::File(download), _) => {
                let file = self.save(url, *download, progress).await?;
                self.keep(&note, &serde_json::to_vec(&file)?)?;
                Ok(file)
            }
        }
    }

    /// Writes a file that is whole or not there.
    fn keep(&self, path: &Path, bytes: &[u8]) -> Result<(), RemoteError> {
        let new = self.store.spare_path();
        std::fs::write(&new, bytes)?;
        Ok(std::fs::rename(new, path)?)
    }

    async fn save(&self, url: &str, mut download: http::Download, progress: &Step) -> Result<WebFile, RemoteError> {
        let (meter, total) = (progress.meter(), download.size);
        if let Some(size) = total {
            self.store.make_room(size, size)?;
        }
        let mut writer = self.store.blob_writer()?;
        let mut arrived = 0;
        while let Some(bytes) = download.chunk().await? {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled.into());
            }
            writer.write_all(&bytes)?;
            arrived += bytes.len() as u64;
            meter.moved(url, arrived, total, false);
        }
        meter.moved(url, arrived, total, true);
        Ok(WebFile {
            url: url.to_owned(),
            entity_tag: download.entity_tag.clone(),
            last_modified: download.last_modified,
            digest: writer.finish()?.digest.to_string(),
        })
    }

    async fn put_file(&self, source: &HttpSource, landing: &Landing, progress: &Step) -> Result<(), RemoteError> {
        let file = self.file(&source.url, progress).await?;
        if let Some(expected) = source.checksum
            && file.digest != expected.to_string()
        {
            let (url, found) = (source.url.clone(), file.digest);
            return Err(Error::Checksum { url, found, expected }.into());
        }
        let name = &source.file_name;
        if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(Error::FileName(name.clone()).into());
        }
        let (from, to) = (self.content(&file)?, landing.files.join(name));
        blocking(move || {
            std::fs::copy(from, &to)?;
            let to = std::fs::File::options().write(true).open(to)?;
            to.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            Ok(to.set_modified(time(file.last_modified.unwrap_or(0)))?)
        })
        .await
    }

    async fn put_commit(&self, source: &GitSource, landing: &Landing) -> Result<(), RemoteError> {
        let found = self.commit(source).await?;
        let (program, source, landing) = (self.program.clone(), self.repository(source)?, landing.clone());
        blocking(move || {
            let places = Places {
                files: &landing.files,
                scratch: &landing.scratch,
            };
            Ok(git::check_out(&program, &source, &found, places)?)
        })
        .await
    }

    fn repository(&self, source: &GitSource) -> Result<git::Source, RemoteError> {
        Ok(git::Source {
            remote: source.remote.clone(),
            reference: source.reference.clone(),
            subdirectory: source.subdirectory.clone(),
            checksum: source.checksum.clone(),
            keep_git_dir: source.keep_git_dir,
            submodules: source.submodules,
            fetch_by_commit: source.fetch_by_commit,
            checkout_times: source.checkout_times,
            authorization: self.authorization_of_repository(&source.remote)?,
        })
    }

    /// From the secrets `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN`, those for the host first.
    fn authorization_of_repository(&self, remote: &str) -> Result<Option<String>, RemoteError> {
        let host = git::host(remote).unwrap_or_default();
        for suffix in [format!(".{host}"), String::new()] {
            if let Some(header) = self.secret(&format!("GIT_AUTH_HEADER{suffix}"))? {
                return Ok(Some(header));
            }
            if let Some(token) = self.secret(&format!("GIT_AUTH_TOKEN{suffix}"))? {
                return Ok(Some(git::authorization_of_token(&token)));
            }
        }
        Ok(None)
    }

    /// From the secrets `HTTP_AUTH_HEADER_host` and `HTTP_AUTH_TOKEN_host`.
    fn authorization_of_host(&self, url: &str) -> Result<Option<String>, RemoteError> {
        let host = git::host(url).unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        if let Some(header) = self.secret(&format!("HTTP_AUTH_HEADER_{host}"))? {
            return Ok(Some(header));
        }
        let token = self.secret(&format!("HTTP_AUTH_TOKEN_{host}"))?;
        Ok(token.map(|token| format!("Bearer {token}")))
    }

    fn secret(&self, name: &str) -> Result<Option<String>, RemoteError> {
        let secret = self.session.secret(name)?;
        Ok(secret.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    }
}

impl solver::Remotes for Remotes {
    fn identify<'a>(
        &'a self,
        source: RemoteSource<'a>,
        progress: &'a Step,
    ) -> BoxFuture<'a, Result<Identity, RemoteError>> {
        Box::pin(async move {
            Ok(Identity(match source {
                RemoteSource::Http(http) => match http.checksum {
                    Some(checksum) => {
                        self.allowed(&http.url)?;
                        format!("http {} {checksum}", http.file_name)
                    }
                    None => {
                        let file = self.file(&http.url, progress).await?;
                        let time = file.last_modified.unwrap_or(0);
                        format!("http {} {} {time}", http.file_name, file.digest)
                    }
                },
                RemoteSource::Git(git) => identity(git, &self.commit(git).await?),
            }))
        })
    }

    fn fetch<'a>(
        &'a self,
        source: RemoteSource<'a>,
        landing: &'a Landing,
        progress: &'a Step,
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        Box::pin(async move {
            match source {
                RemoteSource::Http(http) => self.put_file(http, landing, progress).await,
                RemoteSource::Git(git) => self.put_commit(git, landing).await,
            }
        })
    }
}

impl fmt::Debug for Remotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remotes").finish_non_exhaustive()
    }
}

/// A commit, and whatever else makes a difference to the files.
fn identity(source: &GitSource, found: &Found) -> String {
    let mut text = match source.keep_git_dir && source.subdirectory.is_empty() {
        true => format!("git {}.git#{} of {}", found.object, found.reference, source.remote),
        false => format!("git {}", found.commit()),
    };
    if !source.subdirectory.is_empty() {
        text += &format!(":{}", source.subdirectory);
    }
    if !source.submodules {
        text += " without submodules";
    }
    if source.checkout_times {
        text += " with times of checkout";
    }
    text
}

/// As policies name a repository.
fn identifier(source: &GitSource) -> String {
    let host = git::host(&source.remote).unwrap_or_default();
    let place = source.remote.split_once(host).map_or("", |(_, path)| path);
    let mut text = format!("git://{host}/{}", place.trim_start_matches(['/', ':']));
    if source.reference.is_some() || !source.subdirectory.is_empty() {
        text += &format!("#{}", source.reference.as_deref().unwrap_or_default());
    }
    if !source.subdirectory.is_empty() {
        text += &format!(":{}", source.subdirectory);
    }
    text
}

fn answer<T>(answers: &Answers<T>, question: Digest) -> Arc<OnceCell<T>> {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.entry(question).or_default().clone()
}

fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RemoteError> + Send + 'static,
) -> Result<T, RemoteError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
