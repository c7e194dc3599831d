//! Files of web servers ([`http`]) and git repositories ([`git`]).
//!
//! Both sides of the network are foreign: what they send ends in errors, never outside the directory or the stream it was
//! asked for. What this crate does not do: keep anything, know what an address in a Dockerfile means, read secrets.

pub mod git;
pub mod http;
