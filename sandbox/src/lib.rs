//! Runs one process in isolation: what a `RUN` line of a Dockerfile is made of.
//!
//! A [`Spec`] says what to run on which root directory; an [`Executor`] runs it and tells how it [ended](Exit).
//! [`Namespaces`] is the one that isolates, [`Plain`] the one for where that cannot be had; [`executor`] gives the right one.
//! Both work in three kinds of processes:
//!
//! ```text
//! caller ── spawns once ──▶ supervisor ── forks for each step ──▶ pid 1 of the step
//!   │                         │ waits, kills                        │ own mounts, ipc, uts, cgroup (and network) namespaces
//!   │                         │                                     │ mounts, pivots, drops privileges, becomes the command
//!   └── orders ───────────────┘                                     │
//!   └── plan, results: a socket for each step ──────────────────────┘
//! ```
//!
//! Without namespaces pid 1 is no number 1: it puts files in the place of mounts, starts the command as its child, ends all
//! that the command left, and puts back what was there.
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
mod isolation;
mod itself;
mod limits;
mod memory;
mod namespaces;
mod network;
mod plain;
mod probe;
#[cfg(feature = "testing")]
pub mod recording;
mod rooted;
mod seccomp;
mod spec;
mod steps;
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
pub use groups::remove_those_of_the_dead as remove_groups_of_the_dead;
pub use init::init_if_asked;
pub use isolation::{Isolation, Lack, NoNamespaces, Wish, enter};
pub use namespaces::Namespaces;
pub use plain::Plain;
pub use probe::{ControlGroups, Ids, Machine, machine};
pub use spec::{Limit, Mount, Network, Privileges, Resources, Secret, Spec, Stdio};
pub use stubs::{SYSTEM_FILES, SYSTEM_FOLDER};

use std::sync::Arc;

/// What runs steps on the rung that was [entered](enter).
#[must_use]
pub fn executor(isolation: &Isolation) -> Arc<dyn Executor> {
    match isolation.is_plain() {
        true => Arc::new(Plain::new()),
        false => Arc::new(Namespaces::new()),
    }
}
