//! What to run, where, as whom: values only.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The size of `/dev/shm` where nobody asks for another: 64 MiB.
const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// One process and the world it is to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The directory that becomes `/`; a mount point or not.
    pub root: PathBuf,
    /// The program and its arguments; the program is looked up in the `PATH` of `env`, inside the root.
    pub args: Vec<String>,
    /// `NAME=value`, in the order the process gets them. `HOME` is added where it is missing.
    pub env: Vec<String>,
    /// Absolute; made if missing, with mode 0755, owned by the user. Empty is `/`.
    pub working_directory: String,
    /// `user[:group]`, names or numbers, looked up inside the root; empty is root.
    pub user: String,
    /// The name of the machine.
    pub hostname: String,
    /// Further lines of `/etc/hosts`: name and address.
    pub hosts: Vec<(String, String)>,
    /// What of the network the process sees.
    pub network: Network,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Resource limits of each process; what is not named is inherited.
    pub limits: Vec<Limit>,
    /// How much of the machine all its processes together may take.
    pub resources: Resources,
    /// What is mounted besides the system's own, in this order.
    pub mounts: Vec<Mount>,
    /// What it may do to the kernel.
    pub privileges: Privileges,
    /// Where its input comes from and its output goes to.
    pub stdio: Stdio,
}

impl Spec {
    /// The command `args` on `root`, with everything else as an ordinary step has it.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, args: Vec<String>) -> Spec {
        Spec {
            root: root.into(),
            args,
            env: Vec::new(),
            working_directory: "/".to_owned(),
            user: String::new(),
            hostname: "buildkitsandbox".to_owned(),
            hosts: Vec::new(),
            network: Network::Host,
            shm_size: DEFAULT_SHM_SIZE,
            limits: Vec::new(),
            resources: Resources::default(),
            mounts: Vec::new(),
            privileges: Privileges::Default,
            stdio: Stdio::Captured,
        }
    }
}

/// What of the network a process sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// All that we see ourselves.
    Host,
    /// A loopback interface of its own and nothing else.
    None,
}

/// A resource limit of `setrlimit(2)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Without `RLIMIT_`, in lower case: `nofile`.
    pub resource: String,
    /// What the process may raise up to `hard`; -1 is unlimited.
    pub soft: i64,
    /// The ceiling; -1 is unlimited. Where we may not raise it so far, it is our own ceiling.
    pub hard: i64,
}

/// How much of the machine the processes of one run may take together; what is not given is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// The share of the processors when others want them too; 1024 is the usual.
    pub cpu_shares: Option<u64>,
    /// After how many microseconds the quota is there again.
    pub cpu_period: Option<u64>,
    /// How many microseconds of processor time there are in a period.
    pub cpu_quota: Option<u64>,
    /// The processors that may be used, as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// The nodes of memory that may be used.
    pub cpuset_mems: Option<String>,
    /// How many processes and threads there may be; -1 is unlimited.
    pub pids: Option<i64>,
    /// The control group to be in, from the top of its hierarchy; by default the one we are in ourselves.
    pub parent: Option<String>,
}

/// Something mounted into the root for the time of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A directory or a file from outside, with all that is mounted below it.
    Bind {
        /// A tree outside, or a single file.
        source: PathBuf,
        /// A path in that tree, whose links do not lead out of it; empty is the whole tree.
        inside: String,
        /// Where it is to be inside; made for the time of the process if missing.
        target: String,
        /// Whether writing is refused.
        read_only: bool,
    },
    /// An empty file system in memory, mode 1777.
    Tmpfs {
        /// Where it is to be inside; made for the time of the process if missing.
        target: String,
        /// Its size in bytes; none is half of the memory, as the kernel does it.
        size: Option<u64>,
        /// Whether writing is refused.
        read_only: bool,
    },
    /// A file that is in memory only, and read-only.
    Secret {
        /// Where it is to be inside; made for the time of the process if missing.
        target: String,
        /// What is in it.
        content: Secret,
        /// Its owner.
        user: u32,
        /// Its group.
        group: u32,
        /// Its permissions.
        mode: u32,
    },
}

impl Mount {
    /// Where it is to be inside.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Mount::Bind { target, .. } | Mount::Tmpfs { target, .. } | Mount::Secret { target, .. } => target,
        }
    }
}

/// Bytes that are shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// What a process may do to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privileges {
    /// As in docker: fourteen capabilities, a filter of system calls, parts of `/proc` and `/sys` hidden.
    #[default]
    Default,
    /// All that we may ourselves: every capability we have, no filter, nothing hidden or made read-only, the machine's
    /// devices where we can make them.
    Insecure,
}

/// Where a process has its input from and its output goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Input is empty; output goes to the callback of [`run`](crate::Executor::run).
    Captured,
    /// Our own output, and our own input if wanted; else an empty one.
    Inherited {
        /// Whether the process reads what we would.
        stdin: bool,
    },
    /// A terminal of its own, joined to ours, which is in raw mode meanwhile and whose size it follows.
    Terminal,
}
