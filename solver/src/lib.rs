//! A definition in, a snapshot out: what runs, when, or is found done.
//!
//! The solver is driven by demand. Two things can be asked of a vertex, each at most once in a build:
//!
//! - its *key* (module `key`): what its result depends on, by content. Needs the keys of its inputs, and for files of a context
//!   or of another stage a checksum of what is read. A key that leads to a record in the store is a hit.
//! - its *snapshot*: the record's, or made by doing the work (module `ops`), for which the inputs' snapshots are asked.
//!
//! Asking for the target's snapshot therefore runs only what must run: base images whose readers are all hits are not
//! pulled, stages that only feed hits are not built. Independent inputs are asked at the same time; equal work, in this
//! process or another on the same store, is done once, under a lock named by its key.
//!
//! What this crate does not know: Dockerfiles, registries (it asks an [`oci::Fetch`]), terminals (it sends [`Event`]s).
#![forbid(unsafe_code)]

mod agent;
mod error;
mod event;
mod explain;
pub mod files;
mod import;
mod key;
mod log;
mod mask;
mod ops;
mod readings;
mod remotes;
mod results;
mod session;
mod solve;
mod trees;
mod wait;

pub use error::{Error, StepError, shown as shown_duration};
pub use event::{Event, Failure, Meter, Outcome, Reporter, Sink, Step, StepId, Stream};
pub use import::{Earlier, Import, Imported, Leave};
pub use ops::image::{fetch_layers, pull};
pub use remotes::{Identity, Landing, RemoteError, RemoteSource, Remotes};
pub use results::{ResultTree, StepResult};
pub use session::{Agent, Secret, Session};
pub use solve::{Attempt, BeforeRun, Finished, Solved, Solver};
