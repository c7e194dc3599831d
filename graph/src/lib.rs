//! What a build is, as data: ops, vertices, a definition. No IO, no clock, no environment.
//!
//! The graph is BuildKit's LLB in strict types: ops, sources and their attributes map one to one, so that a definition
//! can be exchanged at the border. Names, source lines and whether to ignore the cache are metadata beside the graph and
//! no part of a vertex's identity.
//!
//! # The jargon, used in code, messages and documents alike
//!
//! | word | meaning |
//! |---|---|
//! | op | one thing to do: get a source, run a process, change files, merge trees |
//! | vertex | an op and the vertices whose results it reads |
//! | input | a vertex whose result another reads, by its place in the list |
//! | definition | vertices in an order in which every input comes before its reader, and the target |
//! | vertex id | the sha256 of a vertex's canonical bytes ([`encode`]): equal ids mean the same work, in this build |
//! | cache key | what the work depends on, by content, for ever (`cache::CacheKey`): another type on purpose |
//! | stage | the part of a Dockerfile from one FROM to the next |
//! | context | a directory the user lends to the build, under a name |
//! | source | where files enter the graph: an image, a context, a web server, a git repository |
//! | mount | something a process sees besides its tree, for its time only: bind, cache, tmpfs, secret, ssh |
//! | snapshot | a finished file tree: a stack of layer directories (`cache::Snapshot`) |
//! | layer | the changes one vertex made, as a tar |
//! | record | a cache key and the snapshot it leads to |
#![forbid(unsafe_code)]

mod definition;
pub mod dump;
pub mod encode;
pub mod git;
mod mode;
mod mount;
mod op;
pub mod pattern;
pub mod suggest;
mod vertex;

pub use definition::{Builder, Definition};
pub use encode::{Encode, Encoder};
pub use mode::{FileMode, ModeChange, ModeError};
pub use mount::{
    Access, Attributes, BindMount, CacheMount, Lent, Mount, MountKind, MountSource, SecretVariable, Sharing,
};
pub use op::{
    Copy, ExecOp, FileAction, FileOp, GitSource, HttpSource, ImageSource, InputIndex, LocalSource, MakeDirectory,
    MakeFile, MergeOp, NetworkMode, Op, Owner, Process, Security, Ulimit, Unpack, UserName,
};
pub use vertex::{Metadata, SourceLines, Vertex, VertexId};
