//! Runs one process in isolation: what a `RUN` line of a Dockerfile is made of.
//!
//! A [`Spec`] says what to run on which root directory; an [`Executor`] runs it and tells how it [ended](Exit).
//! [`Namespaces`] is the real one. It works in three processes:
//!
//! ```text
//! caller ── spawns ──▶ supervisor ── forks ──▶ pid 1 of the step
//!   │                    │ new pid namespace     │ own mounts, ipc, uts, cgroup (and network) namespaces
//!   │  plan, results     │ waits, kills          │ mounts, pivots, drops privileges, becomes the command
//!   └── one socket ──────┴───────────────────────┘
//! ```
//!
//! The supervisor is our own program started again, so that all between fork and exec happens in a process with one
//! thread. Nothing in here knows of images, layers, graphs or caches.

mod cancel;
mod capabilities;
mod emulation;
mod error;
mod executor;
mod init;
mod itself;
mod limits;
mod memory;
mod namespaces;
mod network;
#[cfg(feature = "testing")]
pub mod recording;
mod rooted;
mod seccomp;
mod spec;
mod stubs;
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
pub use error::{Error, Prohibition};
pub use executor::{Executor, Exit, Stream};
pub use init::init_if_asked;
pub use namespaces::Namespaces;
pub use spec::{Limit, Mount, Network, Privileges, Secret, Spec, Stdio};
pub use userns::{Isolation, enter};
