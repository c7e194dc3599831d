//! The client against a registry that runs inside the test and misbehaves on demand, and against a real one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test panics to fail, and says when it is skipped"
)]

mod auth;
mod early;
mod hostile;
mod messages;
mod mirrors;
mod pull;
mod push;
mod real;
mod referrers;
mod server;
mod uploads;
