//! Runs one process in isolation: what a `RUN` line of a Dockerfile is made of.
//!
//! A [`Spec`] says what to run on which root directory; an [`Executor`] runs it and tells how it [ended](Exit).
//! [`Namespaces`] is the real one. It works in three kinds of processes:
//!
//! ```text
//! caller ── spawns once ──▶ supervisor ── forks for each step ──▶ pid 1 of the step
//!   │                         │ waits, kills                        │ own mounts, ipc, uts, cgroup (and network) namespaces
//!   │                         │                                     │ mounts, pivots, drops privileges, becomes the command
//!   └── orders ───────────────┘                                     │
//!   └── plan, results: a socket for each step ──────────────────────┘
//! ```
//!
//! The supervisor is our own program started again, so that all between fork and exec happens in a process with one
//! thread. Nothing in here knows of images, layers, graphs or caches.

mod cancel;
mod capabilities;
mod emulation;
mod error;
mod executor;
mod gauge;
mod groups;
mod init;
mod itself;
mod limits;
mod memory;
mod namespaces;
mod network;
mod probe;
#[cfg(feature = "testing")]
pub mod recording;
mod rooted;
mod seccomp;
mod spec;
mod stubs;
mod supervisor;
#[expect(
    unsafe_code,
    reason = "the one place for what the kernel offers and no safe wrapper does"
)]
mod sys;
mod terminal;
mod userns;
pub mod users;
mod wire;

pub use cancel::Cancel;
pub use emulation::{Emulation, emulate};
pub use error::{Error, Obstacle, Prohibition};
pub use executor::{Executor, Exit, Stream};
pub use gauge::{Gauge, MemoryUse};
pub use init::init_if_asked;
pub use namespaces::Namespaces;
pub use probe::{ControlGroups, Ids, Machine, machine};
pub use spec::{Limit, Mount, Network, Privileges, Resources, Secret, Spec, Stdio};
pub use userns::{Isolation, Lack, enter};
