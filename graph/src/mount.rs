//! Mounts: what a process sees besides the tree it runs on. Nothing of them is in the result.

use crate::InputIndex;
use crate::encode::{Encode, Encoder};

/// Something mounted for the time of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute; made for the time of the process if missing.
    pub target: String,
    /// What is seen there.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of another tree or of a context.
    Bind(BindMount),
    /// A directory that stays from build to build.
    Cache(CacheMount),
    /// An empty file system in memory.
    Tmpfs {
        /// Its size in bytes; `None` is what the kernel gives.
        size: Option<u64>,
        /// Whether the process may write.
        access: Access,
    },
    /// A file with something the user wants kept.
    Secret {
        /// Under which name the session knows it.
        secret: Lent,
        /// Of the file.
        attributes: Attributes,
    },
    /// A socket of the user's SSH agent.
    Ssh {
        /// Under which name the session knows it.
        agent: Lent,
        /// Of the socket.
        attributes: Attributes,
    },
}

/// Files of another tree or of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// The tree or context; `None` is an empty tree.
    pub from: Option<InputIndex>,
    /// A path from the root of that tree, cleaned.
    pub source: String,
    /// What is written is thrown away.
    pub access: Access,
}

/// A directory that stays from build to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// Steps that name it share it.
    pub id: String,
    /// Who else may use it at the same time.
    pub sharing: Sharing,
    /// What it begins with; `None` is nothing.
    pub from: Option<InputIndex>,
    /// A path from the root of that tree, cleaned.
    pub source: String,
    /// Whether the process may write.
    pub access: Access,
}

/// Whether a process may write to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may not.
    ReadOnly,
    /// It may.
    ReadWrite,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All.
    #[default]
    Shared,
    /// One; another gets another one.
    Private,
    /// One; another waits.
    Locked,
}

/// Something that the session lends under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// The name.
    pub id: String,
    /// Whether it is an error if it is not lent; else the mount is left out.
    pub required: bool,
}

/// Owner and permissions of a file made for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// The permissions.
    pub mode: u32,
}

/// A variable whose value the user wants kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVariable {
    /// The name of the variable.
    pub name: String,
    /// Under which name the session knows the value.
    pub secret: Lent,
}

/// The tree or context that a mount shows a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountSource<'a> {
    /// Which.
    pub from: InputIndex,
    /// A path from the root of that tree.
    pub path: &'a str,
}

impl Mount {
    /// What the mount reads of the vertex's inputs.
    #[must_use]
    pub fn source(&self) -> Option<MountSource<'_>> {
        let (from, path) = match &self.kind {
            MountKind::Bind(bind) => (bind.from, &bind.source),
            MountKind::Cache(cache) => (cache.from, &cache.source),
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => return None,
        };
        from.map(|from| MountSource { from, path })
    }

    /// The fields that say what the process sees, without what it does not depend on: where the files come from, and
    /// which cache it is unless it is the one named after its target.
    pub fn encode_view(&self, encoder: &mut Encoder) {
        encoder.text("target", &self.target);
        match &self.kind {
            MountKind::Bind(bind) => {
                encoder.text("mount", "bind");
                bind.access.encode(encoder);
            }
            MountKind::Cache(cache) => {
                encoder.text("mount", "cache");
                cache.access.encode(encoder);
                let usual = cache.sharing == Sharing::Shared
                    && cache.id.split_once('/').is_some_and(|(_, id)| id == self.target);
                encoder.option("id", usual.then_some(&cache.id), |encoder, id| encoder.text("id", id));
            }
            MountKind::Tmpfs { size, access } => {
                encoder.text("mount", "tmpfs");
                encoder.option("size", *size, |encoder, size| encoder.number("size", size));
                access.encode(encoder);
            }
            MountKind::Secret { secret, attributes } => {
                encoder.text("mount", "secret");
                secret.encode(encoder);
                attributes.encode(encoder);
            }
            MountKind::Ssh { agent, attributes } => {
                encoder.text("mount", "ssh");
                agent.encode(encoder);
                attributes.encode(encoder);
            }
        }
    }
}

impl Encode for Mount {
    fn encode(&self, encoder: &mut Encoder) {
        self.encode_view(encoder);
        if let MountKind::Cache(cache) = &self.kind {
            encoder.text("id", &cache.id);
            let sharing = match cache.sharing {
                Sharing::Shared => "shared",
                Sharing::Private => "private",
                Sharing::Locked => "locked",
            };
            encoder.text("sharing", sharing);
        }
        encoder.option("source", self.source(), |encoder, source| {
            encoder.number("from", source.from.0 as u64);
            encoder.text("path", source.path);
        });
    }
}

impl Encode for Access {
    fn encode(&self, encoder: &mut Encoder) {
        let access = match self {
            Access::ReadOnly => "read",
            Access::ReadWrite => "write",
        };
        encoder.text("access", access);
    }
}

impl Encode for Lent {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("lent", &self.id);
        encoder.number("required", u64::from(self.required));
    }
}

impl Encode for Attributes {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.number("user", u64::from(self.user));
        encoder.number("group", u64::from(self.group));
        encoder.number("mode", u64::from(self.mode));
    }
}

impl Encode for SecretVariable {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("variable", &self.name);
        self.secret.encode(encoder);
    }
}
