//! A definition in, snapshots out: what runs, when, or is found done.

mod event;
pub mod files;

pub use event::{Event, Failure, Outcome, Reporter, Sink, Step, StepId, Stream};
