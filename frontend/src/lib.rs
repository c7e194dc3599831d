//! Dockerfile text to a build definition and an image configuration.
//!
//! The way of a text: [`parse()`] makes instructions of lines, `command` makes each of them mean something, `stage` finds
//! out which stages the target needs and from which images they start, `convert` turns them into vertices and an image
//! configuration. All of it is pure, except that [`plan`] asks a [`oci::Fetch`] for the base images, all at once.
//!
//! Errors have BuildKit's wording, so that what people know of them (and search for) stays true.
//!
//! What this crate does not do: read files, run anything, talk to a registry, print.
#![forbid(unsafe_code)]

mod call;
mod command;
mod convert;
mod diagnostic;
mod dump;
mod duration;
mod environment;
mod epoch;
pub mod ignore;
mod lint;
mod options;
mod outline;
pub mod parse;
mod path;
mod plan;
mod quote;
mod stage;
mod syntax;
mod words;

pub use call::{check, outline, targets};
pub use diagnostic::{Diagnostic, Error};
pub use dump::ast_dump;
pub use environment::Environment;
pub use epoch::{EpochSource, epoch_source};
pub use lint::{Findings, Rule, Warning};
pub use options::{MainContext, NamedContext, NoCache, Options, RemoteContext};
pub use outline::{Argument, Demand, Outline, Target};
pub use parse::{Dockerfile, parse};
pub use plan::{Plan, PlannedImage, context_definition, plan};
pub use words::{WordError, expand, words};

use graph::suggest;
