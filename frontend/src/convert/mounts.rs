//! RUN's mounts: what else a process sees, from where.

use graph::{
    Access, Attributes, BindMount, CacheMount, FileAction, FileOp, InputIndex, Lent, MakeDirectory, Metadata, Mount,
    MountKind, Owner, SecretVariable, UserName, VertexId,
};

use super::{Scope, Tree};
use crate::command::Run;
use crate::command::mount::{Asked, Kind};
use crate::quote::quote;
use crate::{Diagnostic, outline, path};

/// The variable by which programs find an agent.
pub(super) const AGENT: &str = "SSH_AUTH_SOCK";
/// Where a cache begins that is given an owner or a mode.
const CACHE_ROOT: &str = "/cache";

/// What RUN's mounts come to.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    pub(super) secret_env: Vec<SecretVariable>,
    /// The process is told where this socket is.
    pub(super) agent: Option<String>,
    /// How many sockets there are.
    agents: usize,
}

impl Scope<'_, '_> {
    /// The mounts of the RUN at `index` of the stage; what they read is added to `inputs`.
    pub(super) fn mounts(&mut self, run: &Run, index: usize, inputs: &mut Vec<VertexId>) -> Result<Mounts, Diagnostic> {
        let mut mounts = Mounts::default();
        for (reading, written) in run.mounts.iter().enumerate() {
            let asked = written.read(|word| self.expand(word))?;
            let tree = match self.stage.sources.get(&(index, reading)) {
                None => None,
                Some(place) => Some(self.mounted_tree(*place, &asked)?),
            };
            match asked.kind {
                Kind::Secret => self.secret(&asked, &mut mounts),
                Kind::Ssh => self.ssh(&asked, &mut mounts),
                Kind::Tmpfs => mounts.list.push(Mount {
                    target: self.target(&asked)?,
                    kind: MountKind::Tmpfs {
                        size: asked.size,
                        access: access(&asked),
                    },
                }),
                Kind::Bind => {
                    let target = self.target(&asked)?;
                    let from = match tree {
                        None => Some(self.converter.main_context()),
                        Some(Tree::Empty) => None,
                        Some(Tree::Made(id) | Tree::Lent(id)) => Some(id),
                    };
                    let bind = BindMount {
                        from: from.map(|from| input(inputs, from)),
                        source: path::from_root(&asked.source),
                        access: access(&asked),
                    };
                    let kind = MountKind::Bind(bind);
                    mounts.list.push(Mount { target, kind });
                }
                Kind::Cache => {
                    let mount = self.cache(&asked, tree, inputs)?;
                    mounts.list.push(mount);
                }
            }
        }
        if self.state.environment.get(AGENT).is_some() {
            mounts.agent = None;
        }
        Ok(mounts)
    }

    fn mounted_tree(&self, place: usize, asked: &Asked) -> Result<Tree, Diagnostic> {
        match &self.converter.states[place] {
            Some(state) => Ok(state.tree),
            None => Err(Diagnostic::new(format!(
                "cannot mount from stage {} to {}, stage needs to be defined before current command",
                quote(&asked.from),
                quote(&asked.target)
            ))),
        }
    }

    /// Absolute; nothing can be mounted on the root.
    fn target(&self, asked: &Asked) -> Result<String, Diagnostic> {
        match self.place(&asked.target) {
            target if target == "/" => Err(Diagnostic::new(format!("invalid mount target {}", quote(&target)))),
            target => Ok(target),
        }
    }

    /// A path seen from the working directory.
    fn place(&self, target: &str) -> String {
        path::clean(&path::working_directory(&self.working_directory(), target))
    }

    fn cache(&mut self, asked: &Asked, tree: Option<Tree>, inputs: &mut Vec<VertexId>) -> Result<Mount, Diagnostic> {
        let target = self.target(asked)?;
        let mut from = match tree {
            None | Some(Tree::Empty) => None,
            Some(Tree::Made(id) | Tree::Lent(id)) => Some(id),
        };
        let mut source = path::from_root(&asked.source);
        if source == "/" && (asked.user.is_some() || asked.group.is_some() || asked.mode.is_some()) {
            if let Some(Tree::Lent(_)) = tree {
                let what = "a cache mount with uid, gid or mode that begins with the files of a context";
                return Err(Diagnostic::new(format!("{what} is not supported yet")));
            }
            from = Some(self.cache_root(asked, from));
            CACHE_ROOT.clone_into(&mut source);
        }
        let id = match asked.id.as_str() {
            "" => path::clean(&asked.target),
            id => id.to_owned(),
        };
        let namespace = self.converter.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
        let cache = CacheMount {
            id: format!("{}/{id}", namespace.map_or("", String::as_str)),
            sharing: asked.sharing.unwrap_or_default(),
            from: from.map(|from| input(inputs, from)),
            source,
            access: access(asked),
        };
        let kind = MountKind::Cache(cache);
        Ok(Mount { target, kind })
    }

    /// The directory that such a cache begins as.
    fn cache_root(&mut self, asked: &Asked, from: Option<VertexId>) -> VertexId {
        let make = MakeDirectory {
            path: CACHE_ROOT.to_owned(),
            mode: asked.mode.unwrap_or(0o755),
            owner: Some(Owner {
                user: UserName::Id(asked.user.unwrap_or(0)),
                group: Some(UserName::Id(asked.group.unwrap_or(0))),
            }),
            timestamp: None,
        };
        let inputs: Vec<VertexId> = from.into_iter().collect();
        let file = FileOp {
            base: inputs.first().map(|_| InputIndex(0)),
            names: None,
            actions: vec![FileAction::MakeDirectory(make)],
        };
        let metadata = Metadata {
            name: "[internal] setting cache mount permissions".to_owned(),
            ignore_cache: self.ignores_cache(),
            ..Metadata::default()
        };
        self.converter.add_files(file, inputs, metadata)
    }

    fn secret(&mut self, asked: &Asked, mounts: &mut Mounts) {
        let id = match (asked.source.as_str(), asked.id.as_str()) {
            ("", "") => base_name(&asked.target),
            ("", id) => id,
            (source, _) => source,
        };
        let lines = &self.spot.lines;
        outline::demand(&mut self.state.record.secrets, id, asked.required, lines);
        let secret = Lent {
            id: id.to_owned(),
            required: asked.required,
        };
        if let Some(name) = &asked.variable {
            mounts.secret_env.push(SecretVariable {
                name: name.clone(),
                secret: secret.clone(),
            });
        }
        let target = match (asked.target.as_str(), &asked.variable) {
            ("", Some(_)) => return,
            ("", None) => format!("/run/secrets/{}", base_name(id)),
            (target, _) => self.place(target),
        };
        mounts.list.push(Mount {
            target,
            kind: MountKind::Secret {
                secret,
                attributes: attributes(asked, 0o400),
            },
        });
    }

    fn ssh(&mut self, asked: &Asked, mounts: &mut Mounts) {
        let id = match asked.id.as_str() {
            "" => "default",
            id => id,
        };
        let lines = &self.spot.lines;
        outline::demand(&mut self.state.record.agents, id, asked.required, lines);
        let target = match asked.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{}", mounts.agents),
            target => self.place(target),
        };
        mounts.agents += 1;
        mounts.agent.get_or_insert_with(|| target.clone());
        mounts.list.push(Mount {
            target,
            kind: MountKind::Ssh {
                agent: Lent {
                    id: id.to_owned(),
                    required: asked.required,
                },
                attributes: attributes(asked, 0o600),
            },
        });
    }
}

/// A mount of the whole tree that nobody can write to.
pub(super) fn read_only(tree: VertexId, target: &str, inputs: &mut Vec<VertexId>) -> Mount {
    let bind = BindMount {
        from: Some(input(inputs, tree)),
        source: "/".to_owned(),
        access: Access::ReadOnly,
    };
    Mount {
        target: target.to_owned(),
        kind: MountKind::Bind(bind),
    }
}

/// The place of a vertex among the inputs.
fn input(inputs: &mut Vec<VertexId>, id: VertexId) -> InputIndex {
    let place = inputs.iter().position(|input| *input == id).unwrap_or_else(|| {
        inputs.push(id);
        inputs.len() - 1
    });
    InputIndex(place)
}

fn access(asked: &Asked) -> Access {
    match asked.read_only.unwrap_or(asked.kind == Kind::Bind) {
        true => Access::ReadOnly,
        false => Access::ReadWrite,
    }
}

fn attributes(asked: &Asked, mode: u32) -> Attributes {
    Attributes {
        user: asked.user.unwrap_or(0),
        group: asked.group.unwrap_or(0),
        mode: asked.mode.unwrap_or(mode),
    }
}

/// The last name of a path.
fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => "/",
        Some(name) => name,
    }
}
