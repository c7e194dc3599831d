//! What RUN mounts, put in its place for the time of the process: trees, files of a context, caches, secrets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cache::{ActiveSnapshot, CacheDirectory, CacheKey, Company, Found, Owners, Snapshot};
use graph::{Access, Attributes, BindMount, CacheMount, ExecOp, InputIndex, Lent, MountKind, Sharing};
use sandbox::Mount;

use super::Work;
use crate::agent::AgentSocket;
use crate::files;
use crate::readings::Reading;
use crate::wait::Waiting;
use crate::{Step, StepError, key};

/// The name under which something copied for a mount stands in its tree.
const COPIED: &str = "/content";

/// Everything mounted for one process, for as long as this lives.
pub(super) struct Mounts<'w> {
    work: &'w Work,
    /// For the sandbox, in the order they are to be mounted in.
    pub(super) list: Vec<Mount>,
    /// Variables whose values nobody shall see.
    pub(super) secret_env: Vec<String>,
    /// All that is secret among these, by name.
    secrets: Vec<(String, Vec<u8>)>,
    throw_away: Vec<ThrowAway>,
    caches: HashMap<CacheKey, CacheDirectory>,
    agents: Vec<AgentSocket>,
}

/// A writable tree that is deleted after use, with what was written to it; not shown any more first.
struct ThrowAway {
    _tree: cache::Tree,
    _active: ActiveSnapshot,
}

impl<'w> Mounts<'w> {
    /// Sees to it that everything is there that the process is to see.
    pub(super) fn new(work: &'w Work, op: &ExecOp, step: &Step) -> Result<Mounts<'w>, StepError> {
        let mut mounts = Mounts {
            work,
            list: Vec::new(),
            secret_env: Vec::new(),
            secrets: Vec::new(),
            throw_away: Vec::new(),
            caches: HashMap::new(),
            agents: Vec::new(),
        };
        mounts.take_caches(op, step)?;
        for mount in &op.mounts {
            let mounted = match &mount.kind {
                MountKind::Bind(bind) => Some(mounts.bind(bind, &mount.target)?),
                MountKind::Cache(cache) => Some(mounts.cache(cache, &mount.target)?),
                MountKind::Tmpfs { size, access } => Some(Mount::Tmpfs {
                    target: mount.target.clone(),
                    size: *size,
                    read_only: *access == Access::ReadOnly,
                }),
                MountKind::Secret { secret, attributes } => mounts.secret(secret)?.map(|content| Mount::Secret {
                    target: mount.target.clone(),
                    content: sandbox::Secret(content),
                    user: attributes.user,
                    group: attributes.group,
                    mode: attributes.mode,
                }),
                MountKind::Ssh { agent, attributes } => mounts.agent(agent, attributes, &mount.target)?,
            };
            mounts.list.extend(mounted);
        }
        for variable in &op.secret_env {
            let value = mounts.secret(&variable.secret)?.unwrap_or_default();
            // Said here without the value: whoever starts the process would show what comes before the zero.
            let text = String::from_utf8(value).ok().filter(|text| !text.contains('\0'));
            let value = text.ok_or_else(|| StepError::SecretNotText {
                id: variable.secret.id.clone(),
                variable: variable.name.clone(),
            })?;
            mounts.secret_env.push(format!("{}={value}", variable.name));
        }
        mounts.list = in_order(mounts.list);
        Ok(mounts)
    }

    fn bind(&mut self, bind: &BindMount, target: &str) -> Result<Mount, StepError> {
        let read_only = bind.access == Access::ReadOnly;
        let (source, inside) = match bind.from {
            None => (self.writable(None)?, bind.source.clone()),
            Some(from) if self.work.sources.is_context(from) => (self.copied(from, &bind.source)?, COPIED.to_owned()),
            Some(from) if read_only => (self.work.sources.path(from)?, bind.source.clone()),
            Some(from) => {
                let snapshot = self.work.sources.snapshot(from).cloned();
                (self.writable(snapshot.as_ref())?, bind.source.clone())
            }
        };
        Ok(Mount::Bind {
            source,
            inside: if inside == "/" { String::new() } else { inside },
            target: target.to_owned(),
            read_only,
        })
    }

    /// A tree that can be written to, and for nothing.
    fn writable(&mut self, snapshot: Option<&Snapshot>) -> Result<PathBuf, StepError> {
        self.throw_away(self.work.solver.store.prepare(snapshot)?)
    }

    /// Mounts what is thrown away after use.
    fn throw_away(&mut self, active: ActiveSnapshot) -> Result<PathBuf, StepError> {
        let tree = active.mount()?;
        let path = tree.path().to_owned();
        self.throw_away.push(ThrowAway {
            _tree: tree,
            _active: active,
        });
        Ok(path)
    }

    /// A tree with the files of a context that a process is to see: they are root's, and what is ignored is missing, which
    /// is not so in the user's directory.
    fn copied(&mut self, from: InputIndex, path: &str) -> Result<PathBuf, StepError> {
        let active = self.work.solver.store.prepare(None)?;
        self.copy(from, path, (active.upper(), active.owners()))?;
        self.throw_away(active)
    }

    fn copy(&self, from: InputIndex, path: &str, to: (&Path, &Owners)) -> Result<(), StepError> {
        let cancelled = || self.work.solver.cancel.is_cancelled();
        let source = self.work.sources.tree(from)?;
        match files::copy_path(source, path, to, COPIED, &cancelled) {
            Err(files::FilesError::Cancelled) => Err(StepError::Cancelled),
            copied => Ok(copied?),
        }
    }

    fn cache(&self, cache: &CacheMount, target: &str) -> Result<Mount, StepError> {
        let root = self.caches[&self.cache_key(cache)?].root();
        // What it begins with is all of it; without that, a source is a folder that an earlier step made there.
        let inside = match (cache.from, cache.source.as_str()) {
            (Some(_), _) | (None, "/") => COPIED.to_owned(),
            (None, source) => format!("{COPIED}{source}"),
        };
        if std::fs::symlink_metadata(root.join(inside.trim_start_matches('/'))).is_err() {
            return Err(StepError::NothingInCache {
                id: cache.id.strip_prefix('/').unwrap_or(&cache.id).to_owned(),
                path: cache.source.clone(),
            });
        }
        Ok(Mount::Bind {
            source: root,
            inside,
            target: target.to_owned(),
            read_only: cache.access == Access::ReadOnly,
        })
    }

    /// All caches of the process, each once; in the order of their keys, so that two steps cannot wait for each other.
    fn take_caches(&mut self, op: &ExecOp, step: &Step) -> Result<(), StepError> {
        let mut wanted: Vec<(CacheKey, &CacheMount)> = Vec::new();
        for mount in &op.mounts {
            if let MountKind::Cache(cache) = &mount.kind {
                let key = self.cache_key(cache)?;
                if wanted.iter().all(|(known, _)| *known != key) {
                    wanted.push((key, cache));
                }
            }
        }
        wanted.sort_by_key(|(key, _)| key.0);
        for (key, cache) in wanted {
            let directory = self.take_cache(key, cache, step)?;
            self.caches.insert(key, directory);
        }
        Ok(())
    }

    fn take_cache(&self, key: CacheKey, cache: &CacheMount, step: &Step) -> Result<CacheDirectory, StepError> {
        let store = &self.work.solver.store;
        let company = match cache.sharing {
            Sharing::Shared => Company::Any,
            Sharing::Private | Sharing::Locked => Company::None,
        };
        let mut waiting = Waiting::new(step, &self.work.solver.cancel);
        let id = cache.id.strip_prefix('/').unwrap_or(&cache.id);
        loop {
            let alone = store.lock(&key)?;
            let user = match store.find_directory(&key, company, step.name())? {
                Found::Free(directory) => {
                    self.mend_cache(cache, &directory)?;
                    return Ok(directory);
                }
                Found::Taken(user) if cache.sharing == Sharing::Locked => user,
                Found::Taken(_) | Found::Nothing => {
                    let about = format!("cache mount {id}");
                    let user = (company, step.name());
                    return store.make_directory(&key, &about, user, |root| self.begin_cache(cache, root));
                }
            };
            drop(alone);
            std::thread::sleep(waiting.pause(&user, &format!("has the cache mount `{id}`"))?);
        }
    }

    /// Lets a cache begin anew that lost its content. Where there are no mounts a step has the content itself, and when all
    /// that ran it was killed at once, nobody gave it back.
    fn mend_cache(&self, cache: &CacheMount, directory: &CacheDirectory) -> Result<(), StepError> {
        let root = directory.root();
        if root.join(COPIED.trim_start_matches('/')).exists() {
            return Ok(());
        }
        // Whoever has it for a step holds this lock.
        match std::fs::File::open(&root).map(|folder| folder.try_lock().map(|()| folder)) {
            Ok(Ok(_alone)) => self.begin_cache(cache, &root),
            _ => Ok(()),
        }
    }

    /// Puts into a new cache what it is to begin with.
    fn begin_cache(&self, cache: &CacheMount, root: &Path) -> Result<(), StepError> {
        match cache.from {
            Some(from) => self.copy(from, &cache.source, (root, &self.work.solver.store.owners_of_folder())),
            None => Ok(files::make_empty(root, COPIED)?),
        }
    }

    /// A tree that is made again makes another cache, so that a build without cache finds none of these.
    fn cache_key(&self, cache: &CacheMount) -> Result<CacheKey, StepError> {
        let sources = &self.work.sources;
        let tree = match cache.from {
            None => None,
            Some(from) if sources.is_context(from) => {
                let path = cache.source.clone();
                Some(sources.checksum(&Reading::Mount { from, path })?.to_string())
            }
            Some(from) => sources.snapshot(from).map(|snapshot| snapshot.id().to_string()),
        };
        let begins_as = tree.as_deref().map(|tree| (tree, cache.source.as_str()));
        Ok(key::of_directory(&cache.id, begins_as))
    }

    fn agent(&mut self, agent: &Lent, attributes: &Attributes, target: &str) -> Result<Option<Mount>, StepError> {
        let id = &agent.id;
        let lent = match self.work.solver.session.agents.get(id) {
            Some(lent) => lent,
            None if agent.required => return Err(StepError::NoAgent { id: id.clone() }),
            None => return Ok(None),
        };
        let folder = self.work.solver.store.scratch()?;
        let socket = AgentSocket::open(lent, folder, attributes)
            .map_err(|source| StepError::Agent { id: id.clone(), source })?;
        let source = socket.path().to_owned();
        self.agents.push(socket);
        Ok(Some(Mount::Bind {
            source,
            inside: String::new(),
            target: target.to_owned(),
            read_only: false,
        }))
    }

    /// What the session lends; nothing if it does not and need not.
    fn secret(&mut self, secret: &Lent) -> Result<Option<Vec<u8>>, StepError> {
        let content = match self.work.solver.session.secret(&secret.id)? {
            None if secret.required => return Err(StepError::NoSecret { id: secret.id.clone() }),
            content => content,
        };
        if let Some(content) = &content
            && self.secrets.iter().all(|(known, _)| *known != secret.id)
        {
            self.secrets.push((secret.id.clone(), content.clone()));
        }
        Ok(content)
    }

    /// What the process gets to know and must not tell, by name.
    pub(super) fn secrets(&self) -> Vec<(&str, &[u8])> {
        let secrets = self.secrets.iter();
        secrets.map(|(id, value)| (id.as_str(), value.as_slice())).collect()
    }
}

/// What is mounted on something mounted comes after it. Of several at one place only the last is seen.
fn in_order(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.reverse();
    mounts.sort_by(|a, b| a.target().cmp(b.target()));
    mounts.dedup_by(|later, first| later.target() == first.target());
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_stand_on_one_another_and_the_last_hides_the_others() {
        let tmpfs = |(target, size): (&str, u64)| Mount::Tmpfs {
            target: target.to_owned(),
            size: Some(size),
            read_only: false,
        };
        let written = [("/a/b", 1), ("/a", 2), ("/c", 3), ("/a", 4)].map(tmpfs);
        let expected = [("/a", 4), ("/a/b", 1), ("/c", 3)].map(tmpfs);
        assert_eq!(in_order(written.into()), expected);
    }
}
