//! Files of web servers ([`http`]), git repositories ([`git`]), buckets ([`s3`]) and entries of GitHub's cache service
//! ([`github`]).
//!
//! Both sides of the network are foreign: what they send ends in errors, never outside the directory or the stream it was
//! asked for. What this crate does not do: keep anything, know what an address in a Dockerfile means, read secrets.
#![forbid(unsafe_code)]

pub mod git;
pub mod github;
pub mod http;
pub mod s3;
#[doc(hidden)]
pub mod testing;
pub mod wire;
