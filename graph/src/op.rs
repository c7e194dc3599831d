//! The ops: the things a vertex can do.

use oci::{Digest, ImageName, Platform};

use crate::FileMode;
use crate::mount::{Mount, SecretVariable};

/// The place of an input in its vertex's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputIndex(pub usize);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The file tree of an image.
    Image(ImageSource),
    /// The files of a context. Has no snapshot: its readers read the directory in place.
    Local(LocalSource),
    /// A file of a web server, in a tree of its own.
    Http(HttpSource),
    /// The files of a git repository.
    Git(GitSource),
    /// A process run on a file tree.
    Exec(ExecOp),
    /// Files copied or made.
    File(FileOp),
    /// Trees laid over one another.
    Merge(MergeOp),
}

/// An image, pinned: the name was resolved when the graph was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// Where to get it.
    pub name: ImageName,
    /// The digest of the manifest for the platform.
    pub manifest: Digest,
    /// The platform asked for.
    pub platform: Platform,
}

/// A directory lent by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSource {
    /// The name under which the session knows it: `context`, or that of a `--build-context`.
    pub context: String,
    /// Patterns of the ignore file, in order; the last that matches decides.
    pub excludes: Vec<String>,
}

/// A file of a web server. It belongs to root, may be read by root alone, and is as old as the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// Where it is.
    pub url: String,
    /// What it is called in its tree.
    pub file_name: String,
    /// What it must be.
    pub checksum: Option<Digest>,
}

/// The files of a commit of a git repository. They belong to root and are as old as the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// Where it is.
    pub remote: String,
    /// A branch, a tag, a full name or a commit; `None` is the default branch.
    pub reference: Option<String>,
    /// The directory whose files are meant, without slashes around it; empty for the whole.
    pub subdirectory: String,
    /// A commit or the beginning of one, that must be what is found.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// Whether the commit of `checksum` is fetched without asking what the reference leads to.
    pub fetch_by_commit: bool,
    /// Whether files keep the time at which they were checked out.
    pub checkout_times: bool,
}

/// A process run on the tree of `root`; its result is that tree with what the process wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOp {
    /// The tree to run on; `None` is an empty one.
    pub root: Option<InputIndex>,
    /// What to run.
    pub process: Process,
    /// What it sees besides the tree, in the order written; the later of two at one place hides the earlier.
    pub mounts: Vec<Mount>,
    /// Variables whose values the session lends.
    pub secret_env: Vec<SecretVariable>,
    /// What it may do to the kernel.
    pub security: Security,
    /// What of the network it sees.
    pub network: NetworkMode,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// The size of `/dev/shm` in bytes; 64 MiB where nothing is asked.
    pub shm_size: Option<u64>,
    /// Resource limits; where there are none the builder's own are inherited.
    pub ulimits: Vec<Ulimit>,
    /// For which platform the process is.
    pub platform: Platform,
}

/// A command and what it starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// `NAME=value` of proxy variables: given to the process, no part of any key.
    pub proxy_env: Vec<String>,
    /// Absolute; made if missing.
    pub working_directory: String,
    /// `user[:group]`, names or numbers, looked up in the tree; empty is root.
    pub user: String,
    /// The host name; `None` is `buildkitsandbox`.
    pub hostname: Option<String>,
}

/// What of the network a process sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NetworkMode {
    /// The builder's choice.
    #[default]
    Default,
    /// A loopback of its own.
    None,
    /// The host's.
    Host,
}

/// What a process may do to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// What an ordinary step may.
    #[default]
    Sandbox,
    /// All that the builder may.
    Insecure,
}

/// A resource limit of `setrlimit(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// In docker's spelling, for example `nofile`.
    pub name: String,
    /// The soft limit; -1 is unlimited.
    pub soft: i64,
    /// The hard limit; -1 is unlimited.
    pub hard: i64,
}

/// Actions on files, one after the other, on the tree of `base`; its result is that tree with the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOp {
    /// The tree to change; `None` is an empty one.
    pub base: Option<InputIndex>,
    /// The tree in which names of owners are looked up; `None` is the one that is changed.
    pub names: Option<InputIndex>,
    /// What to do, in order.
    pub actions: Vec<FileAction>,
}

/// One change to a file tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Files from another tree or a context.
    Copy(Copy),
    /// A directory and its missing parents.
    MakeDirectory(MakeDirectory),
    /// A file with given contents.
    MakeFile(MakeFile),
}

/// Files copied as COPY and ADD do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The tree or context the files come from.
    pub from: InputIndex,
    /// A path from the root of that tree; wildcards of Go's `filepath.Match` in each component.
    pub source: String,
    /// Absolute. A trailing `/` means a directory.
    pub destination: String,
    /// Given to all that is copied or made on the way; `None` keeps the source's (root of files from a context).
    pub owner: Option<Owner>,
    /// Given to files and directories copied and, if octal, to those made on the way; `None` keeps the source's.
    pub mode: Option<FileMode>,
    /// Of each selected directory only what this pattern of an ignore file matches, and the directories that lead there;
    /// `None` is all. Where neither this nor `source` has a wildcard, it has to be there.
    pub include: Option<String>,
    /// Patterns of an ignore file, from each selected directory on: what is left out.
    pub excludes: Vec<String>,
    /// What happens to an archive.
    pub unpack: Unpack,
}

/// What a copy does with a source that is a tar archive, compressed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// It is a file like any other.
    Never,
    /// Its contents are put into the destination.
    Archives,
}

/// The owner given to files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: UserName,
    /// The group; `None` is the primary group of a user given by name, and the user's own number for a number.
    pub group: Option<UserName>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserName {
    /// By number.
    Id(u32),
    /// By name, looked up in the tree the files go to.
    Name(String),
}

/// A directory made as WORKDIR does: missing parents too, what exists is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeDirectory {
    /// Absolute, cleaned.
    pub path: String,
    /// Of each directory made.
    pub mode: u32,
    /// Of each directory made; `None` is root.
    pub owner: Option<Owner>,
    /// The modification time of each directory made, in seconds since 1970; `None` is 0, never the time of the build.
    pub timestamp: Option<i64>,
}

/// A file made of given bytes, in a directory that is there; a file or link in its place is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeFile {
    /// Absolute, cleaned.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Permissions, at most 0o777.
    pub mode: u32,
    /// `None` is root.
    pub owner: Option<Owner>,
    /// The modification time, in seconds since 1970; `None` is 0, never the time of the build.
    pub timestamp: Option<i64>,
}

/// A tree, and the changes that made others out of nothing laid over it, one after the other.
///
/// What the others hold hides what is at the same place below; directories are merged and get what the upper is like. No
/// link is followed. None of the trees is read, so neither does any of them change what the others contribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeOp {
    /// The lowest tree.
    pub base: InputIndex,
    /// Trees made on nothing, lowest first.
    pub over: Vec<InputIndex>,
}

impl Op {
    /// The inputs the op reads, in the order of first mention.
    #[must_use]
    pub fn inputs(&self) -> Vec<InputIndex> {
        let mut inputs = Vec::new();
        let mut add = |input: InputIndex| {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        };
        match self {
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => {}
            Op::Exec(exec) => {
                let mounted = exec.mounts.iter().filter_map(Mount::source);
                exec.root
                    .into_iter()
                    .chain(mounted.map(|source| source.from))
                    .for_each(&mut add);
            }
            Op::File(file) => {
                file.base.into_iter().chain(file.names).for_each(&mut add);
                for action in &file.actions {
                    if let FileAction::Copy(copy) = action {
                        add(copy.from);
                    }
                }
            }
            Op::Merge(merge) => [merge.base].iter().chain(&merge.over).copied().for_each(&mut add),
        }
        inputs
    }

    /// The tree that the op changes, if it stands on one.
    #[must_use]
    pub fn base(&self) -> Option<InputIndex> {
        match self {
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => None,
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.base,
            Op::Merge(merge) => Some(merge.base),
        }
    }
}
